// Who decides, and whether they did: certificates, the sign bytes under them, and sets of
// authorities followed from the genesis across every change (docs/protocol.md §7).

import {
  AUTHORITIES_BYTES_MAX,
  CERTIFICATE_BYTES_MAX,
  GENESIS_BYTES_MAX,
  HEADER_BYTES_MAX,
  readAuthorities,
  readCertificate,
  readGenesis,
  readHeader,
} from "./forms.js";
import { pack } from "./msgpack.js";
import {
  Refused,
  bigEndian,
  hash,
  hexed,
  joined,
  octets,
  padded,
  same,
  signatureHolds,
} from "./primitives.js";

const PRECOMMIT = 3;
// One change a height at most; a network that changed daily for ten years would have fewer.
export const CHANGES_MAX = 4096;
// A page that checks more than this stands still for ten seconds; `clawpurse tx verify` does not.
export const SIGNATURES_MAX = 4096;

/** Whether `count` distinct members are more than two thirds of `keys`. */
export function isQuorum(count, keys) {
  return 3 * count > 2 * keys.length;
}

/** The bytes that a precommit for a block signs. */
export function precommitBytes(header, certificate) {
  return joined(
    padded("clawpurse/vote", 16),
    padded(header.chainId, 32),
    header.genesisHash,
    bigEndian(header.recoveryEpoch, 4),
    [PRECOMMIT],
    bigEndian(certificate.height, 8),
    bigEndian(certificate.round, 4),
    [1],
    certificate.blockId,
  );
}

/** The members that a bitmap names, in the order of the set. Throws `Refused`. */
export function signersOf(bitmap, keys) {
  if (bitmap.length !== Math.ceil(keys.length / 8)) {
    throw new Refused("certificate.signers", "does not fit the authority set");
  }
  const named = [];
  for (let place = 0; place < 8 * bitmap.length; place += 1) {
    if (((bitmap[place >> 3] >> (place & 7)) & 1) === 0) continue;
    if (place >= keys.length) {
      throw new Refused("certificate.signers", "names members that the set does not have");
    }
    named.push(keys[place]);
  }
  return named;
}

/**
 * The signers of a certificate, each of whose signatures holds, if they are a quorum of `keys`.
 *
 * Throws `Refused`. `network` says for which chain was signed: chainId, genesisHash, recoveryEpoch.
 * Whether the certificate is about a header is `decides`.
 */
export function checkSignatures(certificate, keys, network) {
  const signers = signersOf(certificate.signers, keys);
  if (signers.length !== certificate.signatures.length) {
    throw new Refused(
      "certificate",
      `names ${signers.length} signers and carries ${certificate.signatures.length} signatures`,
    );
  }
  if (!isQuorum(signers.length, keys)) {
    throw new Refused(
      "certificate",
      `has ${signers.length} of ${keys.length} signers, which is no quorum`,
    );
  }
  const message = precommitBytes(network, certificate);
  signers.forEach((key, at) => {
    if (!signatureHolds(key, message, certificate.signatures[at])) {
      throw new Refused("certificate", `has a signature of ${hexed(key)} that does not hold`);
    }
  });
  return signers;
}

/** Whether a certificate is about this header. */
export function decides(certificate, header) {
  return certificate.height === header.height && same(certificate.blockId, header.blockId);
}

/**
 * The set that decides after all changes, each certified by the set before it.
 *
 * `changes`: `[{header, certificate, nextAuthorities}]` in hex, ascending, as payment proofs and
 * chain_getAuthorityChanges give them. Returns `{keys, hash, height}`, height being that of the
 * last change. Throws `Refused`.
 */
export function followChanges(changes, genesis, start = null) {
  let set = start ?? { ...setOf(genesis.authorities), height: 0n };
  if (!Array.isArray(changes) || changes.length > CHANGES_MAX) {
    throw new Refused("authorityChanges", `is not a list of at most ${CHANGES_MAX}`);
  }
  let signatures = 0;
  for (const change of changes) {
    signatures += set.keys.length;
    if (signatures > SIGNATURES_MAX) {
      throw new Refused("authorityChanges", "are too many for a page: use clawpurse tx verify");
    }
    if (change === null || typeof change !== "object") {
      throw new Refused("authorityChanges", "holds something that is no change");
    }
    set = followed(change, genesis, set);
  }
  return set;
}

function followed(change, genesis, set) {
  const field = "authorityChanges";
  const header = readHeader(octets(change.header, field, HEADER_BYTES_MAX));
  if (header.height <= set.height) throw new Refused(field, "are not in ascending order");
  if (!ofNetwork(header, genesis)) throw new Refused(field, "hold a block of another network");
  if (!same(header.authoritiesHash, set.hash)) {
    throw new Refused(field, `lack one before block ${header.height}`);
  }
  const certificate = readCertificate(octets(change.certificate, field, CERTIFICATE_BYTES_MAX));
  if (!decides(certificate, header)) {
    throw new Refused(field, `hold a certificate that is not for block ${header.height}`);
  }
  checkSignatures(certificate, set.keys, header);
  const next = readAuthorities(octets(change.nextAuthorities, field, AUTHORITIES_BYTES_MAX));
  if (!same(next.hash, header.nextAuthoritiesHash)) {
    throw new Refused(field, `give another set than block ${header.height} names`);
  }
  return { ...next, height: header.height };
}

/** Whether a header says that it is of the network with this genesis. */
export function ofNetwork(header, genesis) {
  return header.chainId === genesis.chainId && same(header.genesisHash, genesis.hash);
}

/** A set of keys with its hash. */
export function setOf(keys) {
  return { keys, hash: hash("claw.authset", pack(keys)) };
}

/** The genesis in hex, if it hashes to the trusted hash (in hex; null: not judged). */
export function trustedGenesis(value, trustedHash) {
  const genesis = readGenesis(octets(value, "genesis", GENESIS_BYTES_MAX));
  if (trustedHash !== null && hexed(genesis.hash) !== trustedHash) {
    throw new Refused("genesis", `has the hash ${hexed(genesis.hash)}, not ${trustedHash}`);
  }
  return genesis;
}
