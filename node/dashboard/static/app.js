// Which pages a node has. Each is a file of its own, loaded when it is first opened.

import { openShell } from "/assets/kit/shell.js";
import { route } from "/assets/kit/router.js";
import Home from "./pages/home.js";

const page = (name) => ({ load: () => import(`./pages/${name}.js`) });

route("/", Home, { title: "", key: "h", menu: "Home" });
route("/blocks", page("blocks"), { title: "Blocks", key: "b", menu: "Blocks" });
route("/block/:id", page("block"), { title: ({ id }) => `Block ${id}` });
route("/payments", page("payments"), { title: "Payments", key: "p", menu: "Payments" });
route("/tx/:txId", page("tx"), { title: ({ txId }) => `Payment ${txId.slice(0, 12)}` });
route("/account/:account", page("account"), { title: ({ account }) => `Account ${account.slice(0, 12)}` });
route("/assets", page("assets"), { title: "Assets", key: "s", menu: "Assets" });
route("/asset/:asset", page("asset"), { title: ({ asset }) => asset });
route("/authorities", page("authorities"), { title: "Authorities", key: "a", menu: "Authorities" });
route("/network", page("network"), { title: "Network", key: "n", menu: "Network" });
route("/mempool", page("mempool"), { title: "Mempool", key: "m", menu: "Mempool" });
route("/compliance", page("compliance"), { title: "Compliance", key: "c", menu: "Compliance" });
route("/approvals", page("approvals"), { title: "Approvals", key: "v", menu: "Approvals" });
route("/approvals/:kind", page("approvals"), { title: ({ kind }) => kind });
route("/approvals/:kind/:id", page("approvals"), { title: ({ kind, id }) => `${kind} ${id.slice(0, 12)}` });
route("/modules", page("modules"), { title: "Modules", key: "d", menu: "Modules" });
route("/alerts", page("alerts"), { title: "Alerts", key: "l", menu: "Alerts" });
route("/runbook/:name", page("runbook"), { title: ({ name }) => name });
route("/node", page("node"), { title: "Node", key: "o", menu: "Node" });

openShell(document.getElementById("app"));
