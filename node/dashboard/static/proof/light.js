// Whether a block follows from one that is trusted (docs/protocol.md §7, light clients). Pure: the
// reader's clock is an argument.

import { checkSignatures, decides, ofNetwork, setOf } from "./agreement.js";
import {
  AUTHORITIES_BYTES_MAX,
  CERTIFICATE_BYTES_MAX,
  HEADER_BYTES_MAX,
  readAuthorities,
  readCertificate,
  readHeader,
} from "./forms.js";
import { Refused, hexed, octets, same } from "./primitives.js";

export const TRUSTING_PERIOD_MS = 14n * 24n * 3_600_000n;
export const CLOCK_DRIFT_MS = 10_000n;

/** A light block of its four parts in hex: header, certificate, authorities, nextAuthorities. */
export function readLightBlock({ header, certificate, authorities, nextAuthorities }) {
  return {
    header: readHeader(octets(header, "header", HEADER_BYTES_MAX)),
    certificate: readCertificate(octets(certificate, "certificate", CERTIFICATE_BYTES_MAX)),
    authorities: readAuthorities(octets(authorities, "authorities", AUTHORITIES_BYTES_MAX)),
    next: readAuthorities(octets(nextAuthorities, "nextAuthorities", AUTHORITIES_BYTES_MAX)),
  };
}

/** What is trusted at the beginning: a genesis whose hash is known from somebody trusted. */
export function trustGenesis(genesis) {
  return {
    chainId: genesis.chainId,
    genesisHash: genesis.hash,
    recoveryEpoch: 0n,
    height: 0n,
    blockId: genesis.hash,
    timeMs: genesis.timeMs,
    next: setOf(genesis.authorities),
  };
}

/** What is trusted once a light block was judged a success. */
export function trustBlock({ header, next }) {
  const { chainId, genesisHash, recoveryEpoch, height, blockId, timeMs } = header;
  return { chainId, genesisHash, recoveryEpoch, height, blockId, timeMs, next };
}

/**
 * `success`, `notEnoughTrust` (try a block half way between first), or `invalid REASON`, the first
 * rule that does not hold. `nowMs` is a BigInt. Never throws on blocks that could be read.
 */
export function judge(trusted, block, nowMs) {
  const { header, certificate, authorities, next } = block;
  const adjacent = header.height === trusted.height + 1n;
  const network = { chainId: trusted.chainId, hash: trusted.genesisHash };
  let signers = null;
  const rules = [
    ["expired", () => nowMs < trusted.timeMs + TRUSTING_PERIOD_MS],
    ["network", () => ofNetwork(header, network)],
    ["epoch", () => header.recoveryEpoch === trusted.recoveryEpoch],
    ["height", () => header.height > trusted.height],
    ["time", () => header.timeMs > trusted.timeMs],
    ["future", () => header.timeMs < nowMs + CLOCK_DRIFT_MS],
    ["authorities", () => same(authorities.hash, header.authoritiesHash)],
    ["nextAuthorities", () => same(next.hash, header.nextAuthoritiesHash)],
    ["parent", () => !adjacent || same(header.parentId, trusted.blockId)],
    ["succession", () => !adjacent || same(authorities.hash, trusted.next.hash)],
    [
      "certificate",
      () => {
        signers = signersIfDecided(certificate, header, authorities.keys);
        return signers !== null;
      },
    ],
  ];
  const broken = rules.find(([, holds]) => !holds());
  if (broken !== undefined) return `invalid ${broken[0]}`;
  if (adjacent) return "success";
  const trustedKeys = new Set(trusted.next.keys.map(hexed));
  const known = signers.filter((key) => trustedKeys.has(hexed(key))).length;
  // More than a third: one of them at least is honest, and an honest one signs only the chain.
  return 3 * known > trusted.next.keys.length ? "success" : "notEnoughTrust";
}

function signersIfDecided(certificate, header, keys) {
  if (!decides(certificate, header)) return null;
  try {
    return checkSignatures(certificate, keys, header);
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}
