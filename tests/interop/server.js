// node-opcua's server as a machine downstream: a few variables that change as it is told, and a method.
// Run as `node server.js FOLDER`; prints `ready URL`. A line `set NAME VALUE` on its standard input
// writes a variable, `get NAME` prints `value VALUE`. It ends with its standard input.
"use strict";

const { createHash } = require("node:crypto");
const path = require("node:path");
const readline = require("node:readline");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");
const { nodesets } = require("node-opcua-nodesets");
const { StatusCodes } = require("node-opcua-status-code");
const { DataType } = require("node-opcua-variant");

const URI = "urn:maker:packer";
const [folder] = process.argv.slice(2);

// The library tells of itself on standard output.
console.log = console.error;

async function main() {
  const manager = new OPCUACertificateManager({ rootFolder: path.join(folder, "pki"), automaticallyAcceptUnknownCertificate: true });
  await manager.initialize();
  const server = new OPCUAServer({
    port: 0,
    nodeset_filename: [nodesets.standard],
    serverCertificateManager: manager,
    userCertificateManager: manager,
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.SignAndEncrypt],
    securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes256_Sha256_RsaPss],
    allowAnonymous: true,
    userManager: { isValidUser: (user, password) => ({ anna: "correct horse", bert: "battery staple" })[user] === password },
    serverCapabilities: { minSupportedSampleRate: 10, operationLimits: { maxNodesPerRead: 50, maxMonitoredItemsPerCall: 2 } },
  });
  await server.initialize();
  const addressSpace = server.engine.addressSpace;
  const namespace = addressSpace.registerNamespace(URI);
  const machine = namespace.addObject({ organizedBy: addressSpace.rootFolder.objects, nodeId: "s=Packer", browseName: "Packer" });
  const held = new Map();
  const add = (name, dataType, value) => {
    const variable = namespace.addVariable({
      nodeId: `s=Packer.${name}`,
      browseName: name,
      componentOf: machine,
      dataType: DataType[dataType],
      minimumSamplingInterval: 0,
      accessLevel: "CurrentRead | CurrentWrite",
      userAccessLevel: "CurrentRead | CurrentWrite",
      value: { dataType: DataType[dataType], value },
    });
    held.set(name, variable);
  };
  add("Speed", "Double", 1.5);
  add("Count", "UInt32", 7);
  add("Recipe", "String", "Orange");
  const tank = namespace.addObject({ organizedBy: addressSpace.rootFolder.objects, nodeId: "s=Tank", browseName: "Tank" });
  namespace.addAnalogDataItem({
    nodeId: "s=Tank.Level",
    browseName: "Level",
    componentOf: tank,
    dataType: DataType.Double,
    engineeringUnitsRange: { low: 100, high: 200 },
    value: { dataType: DataType.Double, value: 150 },
  });
  const drain = namespace.addMethod(tank, {
    nodeId: "s=Tank.Drain",
    browseName: "Drain",
    inputArguments: [{ name: "Rate", dataType: DataType.Double }],
    outputArguments: [{ name: "Twice", dataType: DataType.Double }],
  });
  drain.bindMethod((inputs, context, callback) => {
    const twice = { dataType: DataType.Double, value: 2 * inputs[0].value };
    callback(null, { statusCode: StatusCodes.Good, outputArguments: [twice] });
  });
  // Answers who calls it: a user's name, or the SHA-1 of his certificate.
  const who = namespace.addMethod(machine, {
    nodeId: "s=Packer.Who",
    browseName: "Who",
    inputArguments: [],
    outputArguments: [{ name: "User", dataType: DataType.String }],
  });
  who.bindMethod((inputs, context, callback) => {
    const token = context.session.userIdentityToken;
    const proof = token.certificateData;
    const value = proof ? createHash("sha1").update(proof).digest("hex").toUpperCase() : token.userName || "anonymous";
    callback(null, { statusCode: StatusCodes.Good, outputArguments: [{ dataType: DataType.String, value }] });
  });
  const fill = namespace.addMethod(machine, {
    nodeId: "s=Packer.Fill",
    browseName: "Fill",
    inputArguments: [{ name: "Boxes", dataType: DataType.UInt32 }, { name: "Rate", dataType: DataType.Double }],
    outputArguments: [],
  });
  fill.bindMethod((inputs, context, callback) => {
    const inputArgumentResults = [StatusCodes.Good, StatusCodes.BadOutOfRange];
    callback(null, { statusCode: StatusCodes.BadInvalidArgument, inputArgumentResults, outputArguments: [] });
  });
  await server.start();
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const [order, name, text] = line.split(" ");
    const variable = held.get(name);
    const { dataType, value } = variable.readValue().value;
    if (order === "set") {
      variable.setValueFromSource({ dataType, value: dataType === DataType.String ? text : Number(text) }, StatusCodes.Good);
    }
    process.stdout.write(`value ${order === "set" ? text : value}\n`);
  });
  lines.on("close", () => process.exit(0));
  process.stdout.write(`ready ${server.getEndpointUrl()}\n`);
}

main();
