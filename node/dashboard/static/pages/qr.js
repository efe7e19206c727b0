// QR codes (ISO/IEC 18004) for addresses: byte mode, level M, versions 1 to 10. Pure.

// Per version at level M: [error correction bytes a block, blocks of the first length, their data
// bytes, blocks that are one byte longer].
const LEVEL_M = [
  [10, 1, 16, 0], [16, 1, 28, 0], [26, 1, 44, 0], [18, 2, 32, 0], [24, 2, 43, 0],
  [16, 4, 27, 0], [18, 4, 31, 0], [22, 2, 38, 2], [22, 3, 36, 2], [26, 4, 43, 1],
];
const ALIGNMENT = [[], [6, 18], [6, 22], [6, 26], [6, 30], [6, 34], [6, 22, 38], [6, 24, 42], [6, 26, 46], [6, 28, 50]];
const FORMAT_MASK = 0x5412;
const FORMAT_POLYNOMIAL = 0x537;
const VERSION_POLYNOMIAL = 0x1f25;

/** The modules of the code of a text: rows of booleans, true is dark. Throws if it is too long. */
export function qrModules(text) {
  const bytes = [...new TextEncoder().encode(text)];
  const version = versionFor(bytes.length);
  const frame = emptyFrame(version);
  placeData(frame, codewords(bytes, version));
  let best = null;
  for (let mask = 0; mask < 8; mask += 1) {
    const modules = masked(frame, mask);
    const score = penalty(modules);
    if (!best || score < best.score) best = { modules, score };
  }
  return best.modules;
}

/** The SVG path of dark modules, one unit each, and the width with a quiet zone of four. */
export function qrPath(text) {
  const modules = qrModules(text);
  const runs = [];
  modules.forEach((row, y) => {
    for (let x = 0; x < row.length; x += 1) {
      if (!row[x]) continue;
      let end = x;
      while (row[end + 1]) end += 1;
      runs.push(`M${x + 4} ${y + 4}h${end - x + 1}v1h-${end - x + 1}z`);
      x = end;
    }
  });
  return { path: runs.join(""), width: modules.length + 8 };
}

function versionFor(length) {
  const version = LEVEL_M.findIndex(([, blocks, size, longer], at) => {
    const bits = 4 + (at + 1 < 10 ? 8 : 16) + 8 * length;
    return bits <= 8 * (blocks * size + longer * (size + 1));
  });
  if (version < 0) throw new RangeError(`${length} bytes do not fit into a code of this kind`);
  return version + 1;
}

function codewords(bytes, version) {
  const [eccSize, blocks, size, longer] = LEVEL_M[version - 1];
  const total = blocks * size + longer * (size + 1);
  const bits = [];
  const push = (value, count) => {
    for (let at = count - 1; at >= 0; at -= 1) bits.push(value >> at & 1);
  };
  push(4, 4);
  push(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) push(byte, 8);
  push(0, Math.min(4, 8 * total - bits.length));
  while (bits.length % 8) bits.push(0);
  const data = [];
  for (let at = 0; at < bits.length; at += 8) data.push(parseInt(bits.slice(at, at + 8).join(""), 2));
  for (let pad = 0xec; data.length < total; pad ^= 0xec ^ 0x11) data.push(pad);
  const parts = [];
  for (let at = 0, number = 0; number < blocks + longer; number += 1) {
    const length = number < blocks ? size : size + 1;
    parts.push(data.slice(at, at + length));
    at += length;
  }
  const checks = parts.map((part) => remainder(part, eccSize));
  return [...interleaved(parts), ...interleaved(checks)];
}

function interleaved(parts) {
  const longest = Math.max(...parts.map((part) => part.length));
  const found = [];
  for (let at = 0; at < longest; at += 1) {
    for (const part of parts) if (at < part.length) found.push(part[at]);
  }
  return found;
}

// -- Reed–Solomon over GF(256) with x^8 + x^4 + x^3 + x^2 + 1

function times(left, right) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    product = (product << 1) ^ ((product >> 7) * 0x11d);
    product ^= (right >> bit & 1) * left;
  }
  return product;
}

function generator(degree) {
  const found = [...Array(degree - 1).fill(0), 1];
  for (let root = 1, step = 0; step < degree; step += 1, root = times(root, 2)) {
    for (let at = 0; at < degree; at += 1) {
      found[at] = times(found[at], root) ^ (at + 1 < degree ? found[at + 1] : 0);
    }
  }
  return found;
}

function remainder(data, degree) {
  const divisor = generator(degree);
  const rest = Array(degree).fill(0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    divisor.forEach((one, at) => { rest[at] ^= times(one, factor); });
  }
  return rest;
}

// -- the frame: cells are true or false; `fixed` tells which are no data

function emptyFrame(version) {
  const size = 17 + 4 * version;
  const cells = Array.from({ length: size }, () => Array(size).fill(false));
  const fixed = Array.from({ length: size }, () => Array(size).fill(false));
  const set = (x, y, dark) => {
    if (x < 0 || y < 0 || x >= size || y >= size) return;
    cells[y][x] = dark;
    fixed[y][x] = true;
  };
  for (let at = 0; at < size; at += 1) {
    set(6, at, at % 2 === 0);
    set(at, 6, at % 2 === 0);
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(set, x, y, 4, (ring) => ring !== 2 && ring !== 4);
  const places = ALIGNMENT[version - 1];
  const last = places.length - 1;
  places.forEach((x, column) => places.forEach((y, row) => {
    const isFinder = column === 0 && (row === 0 || row === last) || column === last && row === 0;
    if (!isFinder) square(set, x, y, 2, (ring) => ring !== 1);
  }));
  const frame = { size, version, cells, fixed, set };
  drawFormat(frame, 0);
  if (version >= 7) drawVersion(frame);
  return frame;
}

function square(set, x, y, reach, isDark) {
  for (let dy = -reach; dy <= reach; dy += 1) {
    for (let dx = -reach; dx <= reach; dx += 1) set(x + dx, y + dy, isDark(Math.max(Math.abs(dx), Math.abs(dy))));
  }
}

function drawFormat({ size, set }, mask) {
  // Level M is 00: the five bits are those of the mask.
  let rest = mask;
  for (let at = 0; at < 10; at += 1) rest = (rest << 1) ^ ((rest >> 9) * FORMAT_POLYNOMIAL);
  const bits = (mask << 10 | rest) ^ FORMAT_MASK;
  const bit = (at) => (bits >> at & 1) === 1;
  for (let at = 0; at <= 5; at += 1) set(8, at, bit(at));
  set(8, 7, bit(6));
  set(8, 8, bit(7));
  set(7, 8, bit(8));
  for (let at = 9; at < 15; at += 1) set(14 - at, 8, bit(at));
  for (let at = 0; at < 8; at += 1) set(size - 1 - at, 8, bit(at));
  for (let at = 8; at < 15; at += 1) set(8, size - 15 + at, bit(at));
  set(8, size - 8, true);
}

function drawVersion({ size, version, set }) {
  let rest = version;
  for (let at = 0; at < 12; at += 1) rest = (rest << 1) ^ ((rest >> 11) * VERSION_POLYNOMIAL);
  const bits = version << 12 | rest;
  for (let at = 0; at < 18; at += 1) {
    const dark = (bits >> at & 1) === 1;
    const [near, far] = [Math.floor(at / 3), size - 11 + at % 3];
    set(far, near, dark);
    set(near, far, dark);
  }
}

function placeData({ size, cells, fixed }, words) {
  let at = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      for (const x of [right, right - 1]) {
        const upward = (right + 1 & 2) === 0;
        const y = upward ? size - 1 - step : step;
        if (fixed[y][x] || at >= words.length * 8) continue;
        cells[y][x] = (words[at >> 3] >> 7 - (at & 7) & 1) === 1;
        at += 1;
      }
    }
  }
}

const MASKS = [
  (x, y) => (x + y) % 2, (_x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2, (x, y) => x * y % 2 + x * y % 3,
  (x, y) => (x * y % 2 + x * y % 3) % 2, (x, y) => ((x + y) % 2 + x * y % 3) % 2,
];

function masked(frame, mask) {
  const cells = frame.cells.map((row, y) => row.map((dark, x) => (
    frame.fixed[y][x] ? dark : dark !== (MASKS[mask](x, y) === 0)
  )));
  const set = (x, y, dark) => { cells[y][x] = dark; };
  drawFormat({ size: frame.size, set }, mask);
  return cells;
}

// -- which mask reads best

function penalty(modules) {
  const columns = modules[0].map((_, x) => modules.map((row) => row[x]));
  let score = 0;
  for (const line of [...modules, ...columns]) score += linePenalty(line);
  let dark = 0;
  modules.forEach((row, y) => row.forEach((cell, x) => {
    dark += cell;
    const next = modules[y + 1];
    if (next && x + 1 < row.length && cell === row[x + 1] && cell === next[x] && cell === next[x + 1]) score += 3;
  }));
  const total = modules.length ** 2;
  return score + 10 * Math.floor(Math.abs(dark * 20 - total * 10) / total);
}

function linePenalty(line) {
  let score = 0;
  let run = 0;
  line.forEach((cell, at) => {
    run = at && cell === line[at - 1] ? run + 1 : 1;
    if (run === 5) score += 3;
    else if (run > 5) score += 1;
  });
  const text = line.map((cell) => (cell ? "1" : "0")).join("");
  for (const look of ["10111010000", "00001011101"]) {
    for (let at = text.indexOf(look); at >= 0; at = text.indexOf(look, at + 1)) score += 40;
  }
  return score;
}
