// Says the examples of the JSON-RPC 2.0 specification through a client of others, once by HTTP
// and once by WebSocket, and prints what it understood as one JSON object.
//
//     node --experimental-websocket specification.mjs http://127.0.0.1:PORT

import { JSONRPCClient } from "json-rpc-2.0";

const url = process.argv[2];

async function overHttp(payload) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(payload),
  });
  if (response.status === 200) client.receive(await response.json());
  else if (response.status !== 204) throw new Error(`HTTP ${response.status}`);
}

let client = new JSONRPCClient(overHttp);

async function outcome(promise) {
  try {
    return { result: await promise };
  } catch (error) {
    return { code: error.code, message: error.message, reason: error.data?.reason };
  }
}

async function say() {
  const answers = {
    positional: await outcome(client.request("subtract", [42, 23])),
    turned: await outcome(client.request("subtract", [23, 42])),
    named: await outcome(client.request("subtract", { subtrahend: 23, minuend: 42 })),
    data: await outcome(client.request("get_data")),
    unknown: await outcome(client.request("foobar")),
    wrong: await outcome(client.request("subtract", { minuend: "42", subtrahend: 23 })),
    missing: await outcome(client.request("test_missing")),
    later: await outcome(client.request("test_echoLater", { someText: "später ✓" })),
  };
  client.notify("notify_hello", [7]);
  client.notify("foobar");
  // Answers of a batch may come in any order: the client sorts them by their ids.
  answers.batch = await client.requestAdvanced([
    { jsonrpc: "2.0", method: "sum", params: [1, 2, 4], id: "1" },
    { jsonrpc: "2.0", method: "subtract", params: [42, 23], id: "2" },
    { jsonrpc: "2.0", method: "foo.get", params: { name: "myself" }, id: "5" },
    { jsonrpc: "2.0", method: "get_data", id: "9" },
  ]);
  answers.at_once = await Promise.all(
    Array.from({ length: 50 }, (_, n) => client.request("sum", [n, n])),
  );
  return answers;
}

const http = await say();

const socket = new WebSocket(url.replace("http:", "ws:") + "/ws");
await new Promise((resolve, reject) => {
  socket.onopen = resolve;
  socket.onerror = () => reject(new Error("no WebSocket"));
});
client = new JSONRPCClient((payload) => {
  socket.send(JSON.stringify(payload));
  return Promise.resolve();
});
socket.onmessage = (event) => client.receive(JSON.parse(event.data));
const webSocket = await say();
socket.close();

console.log(JSON.stringify({ http, webSocket }));
