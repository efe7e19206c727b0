// The verifier, for pages: `import("../proof/index.js")` from a page, when somebody asks for a proof.

export { accountText } from "./facts.js";
export { judge, readLightBlock, trustBlock, trustGenesis } from "./light.js";
export { forget, pinned, pin } from "./pins.js";
export { verifyBalance, verifyReceipt, verifyState } from "./verify.js";
