"""Every way in which the module `compliance` refuses, and the events that it tells of."""

from __future__ import annotations

from typing import Final

from clawpurse.ledger.errors import Code
from clawpurse.ledger.rules import Rule

RULES: Final = {
    # What judged payments meet.
    "compliance.denied": Rule(
        Code.POLICY_REJECTED,
        "The policy {0:text}, version {1:number}, refuses it by its rule {2:text}: {3:text}.",
    ),
    "compliance.approvals": Rule(
        Code.APPROVAL_REQUIRED,
        "The policy {0:text}, version {1:number}, asks for approvals by its rule {2:text}: "
        "{3:text}.",
    ),
    # Attestations.
    "compliance.topicTwice": Rule(Code.MALFORMED, "The topic {0:text} is named twice."),
    "compliance.issuersFull": Rule(
        Code.LIMIT_EXCEEDED, "There are {0:number} issuers, the most allowed."
    ),
    "compliance.sameIssuer": Rule(Code.DUPLICATE, "{0:account} may attest just that already."),
    "compliance.noIssuer": Rule(Code.NOT_FOUND, "{0:account} is no issuer of attestations."),
    "compliance.mayNotAttest": Rule(
        Code.NOT_AUTHORISED, "{0:account} may not attest {1:text} here."
    ),
    "compliance.expiry": Rule(
        Code.MALFORMED,
        "An attestation must end after {1:time} and not after {2:time}, not at {0:time}.",
    ),
    "compliance.otherSubject": Rule(
        Code.POLICY_REJECTED, "Another subject is known to stand behind {0:account}."
    ),
    "compliance.attestationsFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} has {1:number} attestations that count, the most allowed."
    ),
    "compliance.noAttestation": Rule(
        Code.NOT_FOUND, "Of {0:account}, {2:account} has attested no {1:text}."
    ),
    "compliance.notOffered": Rule(
        Code.DUPLICATE, "The attestation {0:text} by {1:account} is {2:text} already."
    ),
    "compliance.attestationLate": Rule(
        Code.EXPIRED, "The attestation ended at {0:time}, block time is {1:time}."
    ),
    "compliance.mayNotRevoke": Rule(
        Code.NOT_AUTHORISED,
        "{0:account} neither issued that attestation {1:text} nor is an officer.",
    ),
    "compliance.sameSubject": Rule(
        Code.DUPLICATE, "What is known of who stands behind {0:account} is that already."
    ),
    # Officers.
    "compliance.tooFewOfficers": Rule(
        Code.POLICY_REJECTED, "{0:number} officers cannot agree: there are {1:number}."
    ),
    "compliance.agreed": Rule(Code.DUPLICATE, "{0:account} said so already of {1:hash}."),
    "compliance.samePerson": Rule(
        Code.DUPLICATE, "The person behind {0:account} said so already of {1:hash}."
    ),
    "compliance.votersFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:number} officers have said so, the most that are counted."
    ),
    # Policies.
    "compliance.policyName": Rule(
        Code.MALFORMED, "No policy can be called {0:text}: at most {1:number} characters, no dot."
    ),
    "compliance.ruleTwice": Rule(Code.MALFORMED, "The policy names the rule {0:text} twice."),
    "compliance.badVerdict": Rule(
        Code.MALFORMED, "The verdict of the rule {0:text} has a wrong {1:text}."
    ),
    "compliance.badCondition": Rule(
        Code.MALFORMED, "The condition {1:text} of the rule {0:text} is wrong: {2:text}."
    ),
    "compliance.countersFull": Rule(
        Code.LIMIT_EXCEEDED,
        "The policy looks at {0:number} different windows, at most {1:number} are allowed.",
    ),
    "compliance.policyCost": Rule(
        Code.LIMIT_EXCEEDED,
        "Judging a payment would cost {0:number} with this policy, at most {1:number} is allowed.",
    ),
    "compliance.policiesFull": Rule(
        Code.LIMIT_EXCEEDED, "There are {0:number} policies, the most allowed."
    ),
    "compliance.scope": Rule(
        Code.POLICY_REJECTED, "The policy {0:text} is for {1:text}, in all its versions."
    ),
    "compliance.noRisk": Rule(Code.NOT_FOUND, "This network has no scores of risk."),
    "compliance.delay": Rule(
        Code.POLICY_REJECTED, "Policies wait {1:number} ms at least, not {0:number}."
    ),
    "compliance.openFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} has {1:number} open proposals, the most allowed."
    ),
    "compliance.noProposal": Rule(Code.NOT_FOUND, "There is no proposed policy {0:hash}."),
    "compliance.decided": Rule(
        Code.DUPLICATE, "The proposed policy {0:hash} is {1:text} since block {2:number}."
    ),
    "compliance.waiting": Rule(
        Code.POLICY_REJECTED, "Version {1:number} of the policy {0:text} waits to be in force."
    ),
    # Lists.
    "compliance.unknownList": Rule(Code.NOT_FOUND, "There is no list {0:text}."),
    "compliance.sameList": Rule(Code.DUPLICATE, "The list {0:text} is just that already."),
    "compliance.listsFull": Rule(
        Code.LIMIT_EXCEEDED, "There are {0:number} lists, the most allowed."
    ),
    "compliance.entriesOrder": Rule(
        Code.MALFORMED, "Entries must be ascending, and none named twice."
    ),
    "compliance.inList": Rule(Code.DUPLICATE, "{0:account} is on the list {1:text} already."),
    "compliance.notInList": Rule(Code.NOT_FOUND, "{0:account} is not on the list {1:text}."),
    "compliance.listFull": Rule(
        Code.LIMIT_EXCEEDED, "The list {0:text} would have more than {1:number} entries."
    ),
}
EVENTS: Final = {
    "compliance.issuerSet": ("topics",),
    "compliance.issuerRemoved": ("reason",),
    "compliance.attested": ("topic", "level", "expires", "commitment"),
    "compliance.accepted": ("topic", "level"),
    "compliance.revoked": ("topic", "reason"),
    "compliance.subjectSet": ("reason",),
    "compliance.supported": ("action", "digest", "count", "needed"),
    "compliance.ballotExpired": ("action", "digest"),
    "compliance.quorumSet": ("needed", "delayMs"),
    "compliance.policyProposed": ("proposal", "number", "policy", "asset"),
    "compliance.policyApproved": ("proposal", "count", "needed"),
    "compliance.policyOpposed": ("proposal", "count", "needed"),
    "compliance.policyWaiting": ("proposal", "policy", "version", "activeFrom"),
    "compliance.policyActive": ("proposal", "policy", "version"),
    "compliance.policyClosed": ("proposal", "status", "reason"),
    "compliance.listSet": ("list", "title", "officers"),
    "compliance.listChanged": ("list", "version", "added", "count", "reason"),
}
