// What a reader said once to trust for good: a network's genesis hash, and if wished the authority
// set of today. Kept by this browser only, so a node that changes its story is found out.

const NAME = "clawpurse.pins";
const HASH = /^0x[0-9a-f]{64}$/;
const PINS_MAX = 64;

/** The pin of a network by its chain id: `{genesisHash, authorities|null}`, or null. */
export function pinned(chainId, storage = globalThis.localStorage) {
  return all(storage).find((pin) => pin.chainId === chainId) ?? null;
}

/** Trust a genesis hash (hex), and only these authorities (hex keys; null: as they follow). */
export function pin(chainId, genesisHash, authorities = null, storage = globalThis.localStorage) {
  const made = { chainId, genesisHash, authorities };
  if (!isPin(made)) throw new TypeError("a pin needs a chain id and hex of 32 bytes each");
  const others = all(storage).filter((one) => one.chainId !== chainId);
  storage.setItem(NAME, JSON.stringify([made, ...others].slice(0, PINS_MAX)));
  return made;
}

/** All pins, the newest first. */
export function allPins(storage = globalThis.localStorage) {
  return all(storage);
}

/** Trust again what the node says. */
export function forget(chainId, storage = globalThis.localStorage) {
  const others = all(storage).filter((one) => one.chainId !== chainId);
  storage.setItem(NAME, JSON.stringify(others));
}

function all(storage) {
  try {
    const found = JSON.parse(storage.getItem(NAME) ?? "[]");
    return Array.isArray(found) ? found.filter(isPin) : [];
  } catch {
    // What is no JSON was not written here; nothing is pinned then.
    return [];
  }
}

function isPin(value) {
  return (
    value !== null &&
    typeof value === "object" &&
    typeof value.chainId === "string" &&
    typeof value.genesisHash === "string" &&
    HASH.test(value.genesisHash) &&
    (value.authorities === null ||
      (Array.isArray(value.authorities) && value.authorities.every((key) => HASH.test(key))))
  );
}
