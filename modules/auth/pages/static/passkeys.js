// Passkeys: the browser's own words for what the service asks, and back. Web Authentication Level 3,
// sections 5.1.8 to 5.1.10.

/** Whether this browser and this address can do it: passkeys need https, or this machine. */
export function canPasskey() {
  return Boolean(globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON && navigator.credentials);
}

/** What a passkey says to a sign-in or a step-up, as the service reads it. */
export async function showPasskey(options) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return (await navigator.credentials.get({ publicKey })).toJSON();
}

/** A new passkey, as the service reads it. */
export async function makePasskey(options) {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  return (await navigator.credentials.create({ publicKey })).toJSON();
}
