// An OPC UA client that does what it is told, a JSON object a line, and answers a line each.
// {"op": "connect", "as": "a", "url": …}  ->  {"ok": …} or {"error": "BadUserAccessDenied …"}
"use strict";

const readline = require("node:readline");
const {
  AttributeIds,
  BrowseDirection,
  ClientSubscription,
  ClientMonitoredItem,
  DataType,
  MessageSecurityMode,
  OPCUAClient,
  SecurityPolicy,
  TimestampsToReturn,
  UserTokenType,
  Variant,
  VariantArrayType,
} = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");

const clients = new Map();
const noted = new Map();

const plainVariant = (variant) => ({
  type: variant ? DataType[variant.dataType] : "Null",
  isArray: variant ? variant.arrayType !== VariantArrayType.Scalar : false,
  value: variant ? plain(variant.value) : null,
});

function plain(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value, plain);
  if (value instanceof Date) return value.toISOString();
  if (typeof value !== "object") return value;
  if (value.constructor && ["NodeId", "ExpandedNodeId", "StatusCode"].includes(value.constructor.name)) {
    return value.toString();
  }
  if (typeof value.toJSON === "function") return value.toJSON();
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

const plainDataValue = (dataValue) => ({
  ...plainVariant(dataValue.value),
  status: dataValue.statusCode.name,
  source: dataValue.sourceTimestamp ? dataValue.sourceTimestamp.toISOString() : null,
  server: dataValue.serverTimestamp ? dataValue.serverTimestamp.toISOString() : null,
});

async function makeClient(order) {
  const manager = new OPCUACertificateManager({
    rootFolder: order.pki,
    automaticallyAcceptUnknownCertificate: true,
  });
  await manager.initialize();
  return OPCUAClient.create({
    applicationName: "node-opcua",
    applicationUri: order.applicationUri,
    certificateFile: order.certificate,
    privateKeyFile: order.key,
    clientCertificateManager: manager,
    securityPolicy: SecurityPolicy[order.policy || "None"],
    securityMode: MessageSecurityMode[order.mode || "None"],
    endpointMustExist: false,
    connectionStrategy: { maxRetry: 0, initialDelay: 100, maxDelay: 200 },
    transportTimeout: 20000,
    requestedSessionTimeout: 60000,
  });
}

const identity = (order) =>
  order.user
    ? { type: UserTokenType.UserName, userName: order.user, password: order.password }
    : { type: UserTokenType.Anonymous };

const operations = {
  async endpoints(order) {
    const client = await makeClient(order);
    await client.connect(order.url);
    try {
      const found = await client.getEndpoints();
      return found.map((endpoint) => ({
        url: endpoint.endpointUrl,
        policy: endpoint.securityPolicyUri.split("#")[1],
        mode: MessageSecurityMode[endpoint.securityMode],
        tokens: endpoint.userIdentityTokens.map((token) => UserTokenType[token.tokenType]),
      }));
    } finally {
      await client.disconnect();
    }
  },

  async connect(order) {
    const client = await makeClient(order);
    try {
      await client.connect(order.url);
      const session = await client.createSession(identity(order));
      clients.set(order.as, { client, session });
      return true;
    } catch (error) {
      await client.disconnect().catch(() => undefined);
      throw error;
    }
  },

  async disconnect(order) {
    const { client, session } = clients.get(order.as);
    clients.delete(order.as);
    await session.close(true);
    await client.disconnect();
    return true;
  },

  async namespaces(order) {
    return clients.get(order.as).session.readNamespaceArray();
  },

  async browse(order) {
    const result = await clients.get(order.as).session.browse({
      nodeId: order.node,
      browseDirection: BrowseDirection[order.direction || "Forward"],
      referenceTypeId: order.reference || "i=33",
      includeSubtypes: true,
      nodeClassMask: 0,
      resultMask: 63,
    });
    return {
      status: result.statusCode.name,
      references: (result.references || []).map((reference) => ({
        node: reference.nodeId.toString(),
        name: reference.browseName.name,
        namespace: reference.browseName.namespaceIndex,
        type: reference.typeDefinition.toString(),
        reference: reference.referenceTypeId.toString(),
      })),
    };
  },

  async read(order) {
    const wanted = order.nodes.map((nodeId) => ({
      nodeId,
      attributeId: AttributeIds[order.attribute || "Value"],
    }));
    const found = await clients.get(order.as).session.read(wanted);
    return found.map(plainDataValue);
  },

  async write(order) {
    const dataValue = { value: new Variant({ dataType: DataType[order.type], value: order.value }) };
    if (order.time) dataValue.sourceTimestamp = new Date(order.time);
    const status = await clients.get(order.as).session.write({
      nodeId: order.node,
      attributeId: AttributeIds.Value,
      indexRange: undefined,
      value: dataValue,
    });
    return status.name;
  },

  async subscribe(order) {
    const { session } = clients.get(order.as);
    const subscription = ClientSubscription.create(session, {
      requestedPublishingInterval: 100,
      requestedLifetimeCount: 300,
      requestedMaxKeepAliveCount: 10,
      maxNotificationsPerPublish: 0,
      publishingEnabled: true,
      priority: 0,
    });
    noted.set(order.as, []);
    const item = ClientMonitoredItem.create(
      subscription,
      { nodeId: order.node, attributeId: AttributeIds.Value },
      { samplingInterval: 100, discardOldest: true, queueSize: 10 },
      TimestampsToReturn.Both,
    );
    item.on("changed", (dataValue) => noted.get(order.as).push(plainDataValue(dataValue)));
    await new Promise((resolve, reject) => {
      item.on("initialized", resolve);
      item.on("err", (message) => reject(new Error(message)));
    });
    return true;
  },

  // The notifications so far, once there are as many as asked for.
  async notifications(order) {
    const end = Date.now() + 20000;
    while (noted.get(order.as).length < order.count) {
      if (Date.now() > end) throw new Error(`only ${JSON.stringify(noted.get(order.as))}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return noted.get(order.as);
  },
};

async function answer(line) {
  const order = JSON.parse(line);
  try {
    return { ok: await operations[order.op](order) };
  } catch (error) {
    console.error(error);
    return { error: String((error && error.message) || error) };
  }
}

const out = process.stdout.write.bind(process.stdout);
// The library talks on the console; the answers have standard output to themselves.
console.log = console.info = console.debug = console.warn = (...words) => console.error(...words);

let last = Promise.resolve();
const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => {
  last = last.then(async () => out(`${JSON.stringify(await answer(line))}\n`));
});
input.on("close", () => last.then(() => process.exit(0)));
