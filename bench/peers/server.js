// node-opcua's server with the variables of the bench's plant, to be measured beside Isthmus.
// Run as `node server.js FOLDER VARIABLES`; prints `ready URL`. A line `moving MS COUNT` on its
// standard input has it write another value to so many variables each period: the same ones four
// times, then the next. `still` ends that. Names, NodeIds and folders are those of the plant; all is
// made and written as node-opcua's documentation shows it. Values are reported when they change
// (MinimumSamplingInterval 0), which takes less of it than to sample them.
"use strict";

const path = require("node:path");
const readline = require("node:readline");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");
const { nodesets } = require("node-opcua-nodesets");
const { StatusCodes } = require("node-opcua-status-code");
const { DataType } = require("node-opcua-variant");

const PLANT_URI = "urn:bench:plant";
const PER_MACHINE = 100;
const REPEATED = 4;
const [folder, count] = process.argv.slice(2);

// The library tells of itself on standard output.
console.log = console.error;

function build(server, variables) {
  const addressSpace = server.engine.addressSpace;
  const namespace = addressSpace.registerNamespace(PLANT_URI);
  const found = [];
  for (let machine = 1; machine <= variables / PER_MACHINE; machine += 1) {
    const name = `Bench/M${machine}`;
    const place = namespace.addFolder(addressSpace.rootFolder.objects, { nodeId: `s=${name}`, browseName: name });
    for (let index = 0; index < PER_MACHINE; index += 1) {
      found.push(
        namespace.addVariable({
          nodeId: `s=${name}.V${index}`,
          browseName: `V${index}`,
          componentOf: place,
          dataType: "Double",
          minimumSamplingInterval: 0,
          value: { dataType: DataType.Double, value: 0 },
        }),
      );
    }
  }
  return found;
}

async function main() {
  const manager = new OPCUACertificateManager({ rootFolder: path.join(folder, "pki"), automaticallyAcceptUnknownCertificate: true });
  await manager.initialize();
  const server = new OPCUAServer({
    port: 0,
    nodeset_filename: [nodesets.standard],
    serverCertificateManager: manager,
    userCertificateManager: manager,
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.SignAndEncrypt],
    securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256],
    allowAnonymous: true,
    serverCapabilities: {
      maxSessions: 100,
      maxMonitoredItemsPerSubscription: 200000,
      minSupportedSampleRate: 0,
    },
  });
  await server.initialize();
  const variables = build(server, Number(count));
  await server.start();
  let timer = null;
  let number = 0;
  const move = (count) => {
    const first = (Math.floor(number / REPEATED) * count) % variables.length;
    number += 1;
    const source = { dataType: DataType.Double, value: 0 };
    for (let index = first; index < Math.min(first + count, variables.length); index += 1) {
      source.value = (index % 1000) + (number % 8) / 8;
      variables[index].setValueFromSource(source, StatusCodes.Good);
    }
  };
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const [order, period, count] = line.trim().split(" ");
    clearInterval(timer);
    timer = order === "moving" ? setInterval(move, Number(period), Number(count)) : null;
  });
  lines.on("close", () => process.exit(0));
  process.stdout.write(`ready opc.tcp://127.0.0.1:${server.endpoints[0].port}/\n`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
