"""A client written from docs/protocol.md alone: msgpack, hashlib and PyNaCl, nothing of ours.

If this file cannot make a payment that nodes take, or cannot check what nodes say, then the
document is wrong or incomplete, and so is every client in another language.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import msgpack
import nacl.exceptions
import nacl.signing

# -- §1 primitives


def blake(person: str, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32, person=person.encode()).digest()


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def signature_holds(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        nacl.signing.VerifyKey(key).verify(message, signature)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def list_root(leaves: list[bytes], person: str = "claw.list") -> bytes:
    """RFC 6962 §2.1, by its recursive definition."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return blake(person, b"\x00" + leaves[0])
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    left, right = list_root(leaves[:half], person), list_root(leaves[half:], person)
    return blake(person, b"\x01" + left + right)


def root_of_path(
    leaf: bytes, index: int, size: int, path: list[bytes], person: str = "claw.list"
) -> bytes | None:
    """RFC 9162 §2.1.3.2."""
    digest, last, left = blake(person, b"\x00" + leaf), size - 1, list(path)
    if not 0 <= index < size:
        return None
    while last > 0:
        if index % 2 or index != last:
            if not left:
                return None
            sibling = left.pop(0)
            pair = sibling + digest if index % 2 else digest + sibling
            digest = blake(person, b"\x01" + pair)
        index, last = index // 2, last // 2
    return None if left else digest


# -- §2 keys and addresses


def bip39_seed(words: str, passphrase: str = "") -> bytes:
    salt = b"mnemonic" + passphrase.encode()
    return hashlib.pbkdf2_hmac("sha512", words.encode(), salt, 2048, 64)


def slip10(seed: bytes, path: str) -> bytes:
    """The private seed at a path of hardened levels."""
    node = hmac.digest(b"ed25519 seed", seed, "sha512")
    for level in path.split("/")[1:]:
        index = int(level.rstrip("'")) + 2**31
        data = b"\x00" + node[:32] + index.to_bytes(4, "big")
        node = hmac.digest(node[32:], data, "sha512")
    return node[:32]


def public_key(seed: bytes) -> bytes:
    return bytes(nacl.signing.SigningKey(seed).verify_key)


def bech32m(prefix: str, data: bytes) -> str:
    """BIP-350, with the checksum of BIP-173 and its other constant."""
    bits = "".join(f"{octet:08b}" for octet in data)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    spread = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = 1
    for value in [*spread, *values, 0, 0, 0, 0, 0, 0]:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, factor in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= factor if top >> bit & 1 else 0
    check ^= 0x2BC830A3
    values += [check >> 5 * (5 - at) & 31 for at in range(6)]
    return prefix + "1" + "".join("qpzry9x8gf2tvdw0s3jn54khce6mua7l"[value] for value in values)


def fee_account() -> bytes:
    return blake("claw.account", b"fees")


def module_account(name: str) -> bytes:
    return blake("claw.account", b"module " + name.encode())


# -- §3 genesis and parameters


def genesis_bytes(document: dict[str, Any], id_of: dict[str, bytes]) -> bytes:
    """From the JSON file to canonical bytes; `id_of` reads addresses (checked by `bech32m`)."""
    params = [1, *document["parameters"].values()]
    assets = sorted([a["asset"], a["decimals"], a["title"]] for a in document["assets"])
    accounts = sorted(
        [id_of[a["account"]], [[name, int(n)] for name, n in sorted(a["balances"].items())]]
        for a in document["accounts"]
    )
    return pack(
        [
            1,
            document["chainId"],
            document["genesisTimeMs"],
            sorted(id_of[text] for text in document["authorities"]),
            params,
            assets,
            accounts,
            [[module["name"], module["version"]] for module in document["modules"]],
            sorted(bytes.fromhex(key[2:]) for key in document["recoveryKeys"]),
            document["recoveryThreshold"],
            int(document["testNetwork"]),
            sorted([entry["role"], id_of[entry["account"]]] for entry in document["roles"]),
        ]
    )


# -- §5 votes


def proposal_id(contents: list[Any], expires_ms: int) -> bytes:
    """The id of a proposal: [kind, argument…] and its expiry."""
    return blake("claw.proposal", pack([contents, expires_ms]))


# -- §4 transactions


def voucher_bytes(
    genesis_hash: bytes, channel: bytes, asset: str, payee: bytes, amount: int
) -> bytes:
    """§14: what a payer signs to pay over a channel."""
    name = asset.encode("ascii").ljust(16, b"\x00")
    head = b"clawpurse/vouch\x00" + genesis_hash + channel + name + payee
    return head + amount.to_bytes(8, "big")


def redemption_bytes(genesis_hash: bytes, invoice: bytes, request: bytes) -> bytes:
    """§14: what the account that paid signs to have what an invoice bought."""
    return b"clawpurse/redeem" + genesis_hash + invoice + request


def transfer_body(
    chain_id: str,
    genesis_hash: bytes,
    sender: bytes,
    recipient: bytes,
    asset: str,
    amount: int,
    *,
    sequence: int,
    valid_until_ms: int,
    fee: int,
    memo: bytes = b"",
) -> bytes:
    action = ["assets.transfer", [asset, recipient, amount]]
    head = [1, chain_id, genesis_hash, sender, 0, sequence, 0, valid_until_ms, None, fee, None]
    return pack([*head, [action], memo, None])


def body_bytes(fields: dict[str, Any]) -> bytes:
    """From named fields (as the vectors have them) to bytes."""
    values = list(fields.values())
    return pack([1, *values])


def signing_hash(genesis_hash: bytes, role: int, account: bytes, body: bytes) -> bytes:
    return blake("claw.txsign", genesis_hash + bytes([role]) + account + body)


def signed_form(body: bytes, entries: list[list[Any]]) -> bytes:
    return pack([body, sorted(entries)])


def sign_as_sender(seed: bytes, genesis_hash: bytes, sender: bytes, body: bytes) -> bytes:
    message = signing_hash(genesis_hash, 0, sender, body)
    signature = nacl.signing.SigningKey(seed).sign(message).signature
    return signed_form(body, [[0, sender, public_key(seed), signature]])


# -- §6 blocks, §7 agreement


def block_id(header: list[Any]) -> bytes:
    return blake("claw.block", pack(header))


def domain_bytes(tag: bytes, chain_id: str, genesis_hash: bytes, epoch: int) -> bytes:
    return struct.pack(">16s32s32sI", tag, chain_id.encode(), genesis_hash, epoch)


def vote_sign_bytes(
    chain_id: str,
    genesis_hash: bytes,
    epoch: int,
    kind: int,
    height: int,
    round_: int,
    block: bytes | None,
) -> bytes:
    domain = domain_bytes(b"clawpurse/vote", chain_id, genesis_hash, epoch)
    return domain + struct.pack(
        ">BQIB32s", kind, height, round_, block is not None, block or bytes(32)
    )


def proposal_sign_bytes(
    chain_id: str,
    genesis_hash: bytes,
    epoch: int,
    height: int,
    round_: int,
    valid_round: int,
    block: bytes,
) -> bytes:
    domain = domain_bytes(b"clawpurse/prop", chain_id, genesis_hash, epoch)
    return domain + struct.pack(">BQIiB32s", 1, height, round_, valid_round, 1, block)


def evidence_slot(evidence: bytes) -> bytes:
    """What evidence is about: the order of a block's evidence, and part of its state key."""
    kind, height, round_, authority = msgpack.unpackb(evidence)[:4]
    return struct.pack(">QIB", height, round_, kind) + bytes(authority)


def evidence_convicts(
    chain_id: str, genesis_hash: bytes, epoch: int, evidence: bytes, authorities: list[bytes]
) -> bool:
    """Whether one of `authorities` (the set of its height) signed two things for one position."""
    kind, height, round_, authority, *statements = msgpack.unpackb(evidence)
    if len(statements) != 2 or authority not in authorities:
        return False
    domain, places = (chain_id, genesis_hash, epoch), []
    for valid_round, block, signature in statements:
        if kind == 1:
            signed = proposal_sign_bytes(*domain, height, round_, valid_round, block)
        else:
            signed = vote_sign_bytes(*domain, kind, height, round_, block)
            if valid_round != -1:
                return False
        if not signature_holds(authority, signed, signature):
            return False
        places.append((valid_round, block is not None, block or b""))
    return places[0] < places[1]


def certificate_holds(certificate: bytes, header: list[Any], authorities: list[bytes]) -> bool:
    """Whether a quorum of `authorities` precommitted the block of this header."""
    height, round_, block, bitmap, signatures = msgpack.unpackb(certificate)
    if height != header[4] or block != block_id(header):
        return False
    if blake("claw.authset", pack(sorted(authorities))) != header[15]:
        return False
    members = sorted(authorities)
    if len(bitmap) != (len(members) + 7) // 8:
        return False
    if int.from_bytes(bitmap, "little") >> len(members):
        return False
    signers = [key for at, key in enumerate(members) if bitmap[at // 8] >> at % 8 & 1]
    if len(signers) != len(signatures) or 3 * len(signers) <= 2 * len(members):
        return False
    message = vote_sign_bytes(header[1], header[2], header[3], 3, height, round_, block)
    return all(
        signature_holds(key, message, signature)
        for key, signature in zip(signers, signatures, strict=True)
    )


# -- §8 state and its proofs


def nibbles(key_hash: bytes) -> list[int]:
    return [half for octet in key_hash for half in (octet >> 4, octet & 15)]


def tree_root(leaves: dict[bytes, bytes]) -> bytes:
    """The root of one module's tree, from its keys and values, by the definition."""
    hashed = {
        blake("claw.tree.key", key): blake("claw.tree.value", value)
        for key, value in leaves.items()
    }

    def node(keys: list[bytes], depth: int) -> bytes:
        if len(keys) == 1:
            return blake("claw.tree.leaf", keys[0] + hashed[keys[0]])
        bitmap, children = 0, b""
        for slot in range(16):
            below = [key for key in keys if nibbles(key)[depth] == slot]
            if below:
                bitmap |= 1 << slot
                children += node(below, depth + 1)
        return blake("claw.tree.branch", bitmap.to_bytes(2, "big") + children)

    return node(sorted(hashed), 0) if hashed else bytes(32)


def state_root(modules: list[tuple[str, int, bytes]]) -> bytes:
    return list_root([pack(list(module)) for module in modules], "claw.staterot")


def proven_tree_root(key: bytes, value: bytes | None, proof: bytes) -> bytes | None:
    """The root of the tree in which the proof shows key → value (None: no value)."""
    version, kind, count = proof[:3]
    if version != 1 or kind > 2 or (kind == 0) != (value is not None):
        return None
    path, at, steps = nibbles(blake("claw.tree.key", key)), 3, []
    for depth in range(count):
        bitmap = int.from_bytes(proof[at : at + 2], "big")
        present = [slot for slot in range(16) if bitmap >> slot & 1]
        last_empty = kind == 1 and depth == count - 1
        if (path[depth] in present) == last_empty:
            return None
        others = [slot for slot in present if slot != path[depth]]
        if depth == count - 1 and not others:
            return None
        at += 2
        hashes = {slot: proof[at + 32 * n : at + 32 * n + 32] for n, slot in enumerate(others)}
        at += 32 * len(others)
        if at > len(proof):
            return None
        steps.append((bitmap, hashes, path[depth]))
    tail = proof[at:]
    digest: bytes | None = None
    if kind == 0 and value is not None and not tail:
        leaf = blake("claw.tree.key", key) + blake("claw.tree.value", value)
        digest = blake("claw.tree.leaf", leaf)
    elif kind == 1 and not tail:
        if not steps:
            return bytes(32)
    elif kind == 2 and len(tail) == 64:
        if nibbles(tail[:32])[:count] != path[:count] or tail[:32] == blake("claw.tree.key", key):
            return None
        digest = blake("claw.tree.leaf", tail)
    else:
        return None
    for bitmap, hashes, slot in reversed(steps):
        if digest is not None:
            hashes[slot] = digest
        children = b"".join(hashes[place] for place in sorted(hashes))
        digest = blake("claw.tree.branch", bitmap.to_bytes(2, "big") + children)
    return digest


def state_proof_holds(
    root: bytes, tree: str, key: bytes, value: bytes | None, proof: bytes
) -> bool:
    version, module_version, index, size, path, tree_proof = msgpack.unpackb(proof)
    found = proven_tree_root(key, value, tree_proof)
    if version != 1 or found is None:
        return False
    leaf = pack([tree, module_version, found])
    return root_of_path(leaf, index, size, path, "claw.staterot") == root


# -- §9 payment proofs


def octets(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def sided_root(leaf: dict[str, Any]) -> bytes:
    digest = blake("claw.list", b"\x00" + octets(leaf["leaf"]))
    for side, sibling in leaf["path"]:
        pair = octets(sibling) + digest if side == "left" else digest + octets(sibling)
        digest = blake("claw.list", b"\x01" + pair)
    return digest


def fits(index: int, leaf: dict[str, Any]) -> bool:
    """Whether a path can be that of number `index`: its low bits, then one left for each bit."""
    sides = [side for side, _ in leaf["path"]]
    for level in range(len(sides) + 1):
        low = ["left" if index >> bit & 1 else "right" for bit in range(level)]
        if sides == low + ["left"] * (index >> level).bit_count():
            return True
    return False


def check_payment(proof: dict[str, Any], genesis_hash: bytes) -> list[Any] | None:
    """The receipt that a payment proof proves, or None; for a network without set changes."""
    genesis = octets(proof["genesis"])
    if blake("claw.genesis", genesis) != genesis_hash or proof["authorityChanges"]:
        return None
    header: list[Any] = msgpack.unpackb(octets(proof["header"]))
    if header[2] != genesis_hash:
        return None
    if not certificate_holds(octets(proof["certificate"]), header, msgpack.unpackb(genesis)[3]):
        return None
    if sided_root(proof["receipt"]) != header[11]:
        return None
    receipt: list[Any] = msgpack.unpackb(octets(proof["receipt"]["leaf"]))
    if blake("claw.txid", octets(proof["body"])) != receipt[0]:
        return None
    if len(proof["events"]) != receipt[7] or not fits(proof["index"], proof["receipt"]):
        return None
    for number, event in enumerate(proof["events"], receipt[6]):
        if sided_root(event) != header[12] or not fits(number, event):
            return None
        if msgpack.unpackb(octets(event["leaf"]))[0] != proof["index"]:
            return None
    return receipt


def check_state(bundle: dict[str, Any], genesis_hash: bytes) -> list[Any] | None:
    """What a proof of state proves, or None: (height, {(module, key): value}) of each block.

    For a network without set changes; a statement that opens with the genesis has one block.
    """
    try:
        return proven_state(bundle, genesis_hash)
    except (ValueError, TypeError, KeyError, IndexError):
        return None  # Of another form than a proof.


def proven_state(bundle: dict[str, Any], genesis_hash: bytes) -> list[Any] | None:
    names = {"version", "kind", "genesis", "authorityChanges", "blocks"}
    counts = {"state": (1,), "account": (1,), "balances": (1,), "statement": (1, 2)}
    if set(bundle) != names or bundle["version"] != 1 or bundle["authorityChanges"]:
        return None
    if len(bundle["blocks"]) not in counts.get(bundle["kind"], ()):
        return None
    genesis = octets(bundle["genesis"])
    if blake("claw.genesis", genesis) != genesis_hash:
        return None
    proven: list[tuple[int, dict[tuple[str, bytes], bytes | None]]] = []
    for block in bundle["blocks"]:
        header = msgpack.unpackb(octets(block["header"]))
        if header[2] != genesis_hash:
            return None
        if not certificate_holds(octets(block["certificate"]), header, msgpack.unpackb(genesis)[3]):
            return None
        values: dict[tuple[str, bytes], bytes | None] = {}
        for one in block["values"]:
            key, proof = octets(one["key"]), octets(one["proof"])
            value = None if one["value"] is None else octets(one["value"])
            if not state_proof_holds(header[14], one["module"], key, value, proof):
                return None
            values[one["module"], key] = value
        proven.append((header[4], values))
    if sorted({height for height, _ in proven}) != [height for height, _ in proven]:
        return None
    return proven if all(keys_fit(bundle["kind"], values) for _, values in proven) else None


def keys_fit(kind: str, values: dict[tuple[str, bytes], bytes | None]) -> bool:
    """Whether these are the keys, in the order, that a kind asks for."""
    keys = list(values)
    if kind == "state":
        return len(keys) == 1
    if kind == "account":
        ((module, key),) = keys
        is_record = module == "kernel" and key[:1] == b"a" and len(key) == 33
        return is_record and values[module, key] is not None
    native = keys.index(("assets", b"aCLAW"))
    account = keys[native + 1][1][1:]
    wanted: list[tuple[str, bytes]] = []
    for _, key in keys[::2]:
        held = b"a" + account if key == b"aCLAW" else b"b" + account + key[1:]
        wanted += [("assets", key), ("kernel", held)]
    return keys == wanted


# -- §7 light clients


def light_verdict(
    trusted: dict[str, Any] | None, genesis: bytes, block: dict[str, bytes], now_ms: int
) -> str:
    """What to say of a light block (four parts, as bytes), by a trusted one; None: by genesis."""
    opened: list[Any] = msgpack.unpackb(genesis)
    genesis_hash = blake("claw.genesis", genesis)
    network = [opened[1], genesis_hash]
    height, time_ms, known, following, epoch = 0, opened[2], genesis_hash, opened[3], 0
    if trusted is not None:
        header: list[Any] = msgpack.unpackb(trusted["header"])
        height, time_ms, known, epoch = header[4], header[5], block_id(header), header[3]
        following = msgpack.unpackb(trusted["nextAuthorities"])
    header = msgpack.unpackb(block["header"])
    authorities: list[bytes] = msgpack.unpackb(block["authorities"])
    adjacent = header[4] == height + 1
    rules = [
        ("expired", now_ms < time_ms + 14 * 86_400_000),
        ("network", header[1:3] == network),
        ("epoch", header[3] == epoch),
        ("height", header[4] > height),
        ("time", header[5] > time_ms),
        ("future", header[5] < now_ms + 10_000),
        ("authorities", blake("claw.authset", block["authorities"]) == header[15]),
        ("nextAuthorities", blake("claw.authset", block["nextAuthorities"]) == header[16]),
        ("parent", not adjacent or header[8] == known),
        ("succession", not adjacent or authorities == following),
        ("certificate", certificate_holds(block["certificate"], header, authorities)),
    ]
    for reason, holds in rules:
        if not holds:
            return f"invalid {reason}"
    bitmap: bytes = msgpack.unpackb(block["certificate"])[3]
    signers = [key for at, key in enumerate(authorities) if bitmap[at // 8] >> at % 8 & 1]
    is_known = 3 * len(set(signers) & set(following)) > len(following)
    return "success" if adjacent or is_known else "notEnoughTrust"
