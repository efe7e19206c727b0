// Bundles what the pages bring along. Called by scripts/vendor_pages.py with the folder of
// the installed packages and the folder to write to; the same input gives the same bytes.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [packages, target] = process.argv.slice(2);
const PARTS = {
  preact: ["preact", "htm"],
  uplot: ["uplot"],
  noble: ["@noble/ed25519", "@noble/hashes"],
};

const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
const read = (...parts) => readFileSync(join(...parts));
const about = (name) => JSON.parse(read(packages, "node_modules", name, "package.json"));

const files = {};
const licences = [];
for (const [name, parts] of Object.entries(PARTS)) {
  await build({
    entryPoints: [join(packages, "entries", `${name}.js`)],
    outfile: join(target, `${name}.js`),
    bundle: true,
    format: "esm",
    legalComments: "none",
    minify: true,
    target: "es2022",
  });
  files[`${name}.js`] = {
    sha256: digest(read(target, `${name}.js`)),
    packages: parts.map((part) => {
      const { version, license } = about(part);
      return { name: part, version, licence: license };
    }),
  };
  for (const part of parts) {
    const folder = join(packages, "node_modules", part);
    const file = readdirSync(folder).find((one) => one.startsWith("LICENSE"));
    licences.push(`${part} ${about(part).version}\n\n${read(folder, file).toString().trim()}\n`);
  }
}
writeFileSync(join(target, "licences.txt"), licences.join(`\n${"-".repeat(78)}\n\n`));
files["licences.txt"] = { sha256: digest(read(target, "licences.txt")) };
writeFileSync(join(target, "vendor.json"), JSON.stringify({ files }, null, 2) + "\n");
