// node-opcua's client browses a whole address space: all hierarchical references below Root.
// Run as `node browser.js URL SECONDS`; prints `result` and a JSON object when it is through, or has
// browsed for so long.
"use strict";

const { BrowseDirection, OPCUAClient } = require("node-opcua-client");

const [url, seconds] = process.argv.slice(2);
const NODES = 100;

console.log = console.error;

const toBrowse = (nodeId) => ({
  nodeId,
  referenceTypeId: "HierarchicalReferences",
  includeSubtypes: true,
  browseDirection: BrowseDirection.Forward,
  nodeClassMask: 0,
  resultMask: 63,
});

async function main() {
  const client = OPCUAClient.create({ endpointMustExist: false, keepSessionAlive: false });
  await client.connect(url);
  const session = await client.createSession();
  session.requestedMaxReferencesPerNode = 5000;
  const begin = Date.now();
  const seen = new Set(["i=84"]);
  const waiting = ["i=84"];
  let references = 0;
  let browsed = 0;
  while (waiting.length && Date.now() - begin < Number(seconds) * 1000) {
    const nodes = waiting.splice(0, NODES);
    browsed += nodes.length;
    for (let result of await session.browse(nodes.map(toBrowse))) {
      for (;;) {
        for (const reference of result.references ?? []) {
          references += 1;
          const key = reference.nodeId.toString();
          if (!seen.has(key)) {
            seen.add(key);
            waiting.push(key);
          }
        }
        if (!result.continuationPoint?.length) break;
        result = await session.browseNext(result.continuationPoint, false);
      }
    }
  }
  const result = { references, browsed, left: waiting.length, seconds: (Date.now() - begin) / 1000 };
  process.stdout.write(`result ${JSON.stringify(result)}\n`);
  await session.close();
  await client.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
