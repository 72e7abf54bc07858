// An OPC UA client that does what it is told, a JSON object a line, and answers a line each.
// {"op": "connect", "as": "a", "url": …}  ->  {"ok": …} or {"error": "BadUserAccessDenied …"}
"use strict";

const fs = require("node:fs");
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
  StatusCodes,
  TimestampsToReturn,
  UserTokenType,
  Variant,
  VariantArrayType,
  coerceNodeId,
} = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const types = require("node-opcua-types");

const clients = new Map();
const begun = new Map();
const noted = new Map();

const plainVariant = (variant) => ({
  type: variant ? DataType[variant.dataType] : "Null",
  isArray: variant ? variant.arrayType !== VariantArrayType.Scalar : false,
  value: variant ? plain(variant.value) : null,
});

// What JSON has no word for: {"$bytes": hex}, {"$time": text}, {"$variant": [type, value, dimensions]},
// {"$structure": name, …fields}, {"$status": name}; all else is given to the library as it is.
function build(given) {
  if (Array.isArray(given)) return given.map(build);
  if (typeof given !== "object" || given === null) return given;
  if ("$bytes" in given) return Buffer.from(given.$bytes, "hex");
  if ("$status" in given) return StatusCodes[given.$status];
  if ("$time" in given) return new Date(given.$time);
  if ("$variant" in given) return variantOf(...given.$variant);
  const { $structure: name, ...rest } = given;
  const fields = Object.fromEntries(Object.entries(rest).map(([key, inner]) => [key, build(inner)]));
  return name ? new types[name](fields) : fields;
}

function variantOf(type, value, dimensions) {
  const dataType = DataType[type];
  const built = dataType === DataType.NodeId ? coerceNodeId(value) : build(value);
  if (dimensions) return new Variant({ dataType, arrayType: VariantArrayType.Matrix, dimensions, value: built });
  const arrayType = Array.isArray(built) ? VariantArrayType.Array : VariantArrayType.Scalar;
  return new Variant({ dataType, arrayType, value: built });
}

// A response as JSON: variants, data values and status codes the way the other operations give them.
function shown(value) {
  if (value === undefined || value === null) return null;
  if (Buffer.isBuffer(value)) return { $bytes: value.toString("hex") };
  if (Array.isArray(value)) return value.map(shown);
  if (value instanceof Date || typeof value !== "object" || ArrayBuffer.isView(value)) return plain(value);
  const kind = value.constructor ? value.constructor.name : "";
  if (kind === "Variant") return plainVariant(value);
  if (kind === "DataValue") return plainDataValue(value);
  if (kind.endsWith("StatusCode")) return value.name;
  if (kind === "NodeId" || kind === "ExpandedNodeId") return value.toString();
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shown(inner)]));
}

// Sends a request; a ServiceFault is a response like any other.
function send(target, request) {
  return new Promise((resolve, reject) => {
    target.performMessageTransaction(request, (error, response) => {
      const found = response || (error && error.response);
      if (found) resolve(found);
      else reject(error);
    });
  });
}

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

const ATTRIBUTES = 27;
const NODES_A_READ = 370;
const NODES_A_BROWSE = 500;

const asked = (order) => new types[`${order.service}Request`](build(order.request || {}));

async function answerTo(order, request) {
  const { client, session } = clients.get(order.as);
  const { responseHeader, ...rest } = await send(session || client, request);
  return { result: responseHeader.serviceResult.name, ...shown(rest) };
}

async function allReferences(session, from) {
  const found = new Map([[from, []]]);
  for (let waiting = [from]; waiting.length; ) {
    const some = waiting.splice(0, NODES_A_BROWSE);
    const asked = some.map((nodeId) => ({
      nodeId,
      browseDirection: BrowseDirection.Both,
      includeSubtypes: true,
      nodeClassMask: 0,
      resultMask: 63,
    }));
    let answer = await checked(session, new types.BrowseRequest({ nodesToBrowse: asked }));
    let owners = some;
    while (owners.length) {
      const unfinished = [];
      answer.results.forEach((result, index) => {
        if (result.statusCode.name !== "Good") throw new Error(`${owners[index]}: ${result.statusCode.name}`);
        const references = found.get(owners[index]);
        for (const reference of result.references || []) {
          const node = reference.nodeId.toString();
          references.push([reference.referenceTypeId.toString(), reference.isForward, node]);
          if (!found.has(node)) {
            found.set(node, []);
            waiting.push(node);
          }
        }
        if (result.continuationPoint) unfinished.push([owners[index], result.continuationPoint]);
      });
      owners = unfinished.map(([owner]) => owner);
      const continuationPoints = unfinished.map(([, point]) => point);
      if (owners.length) answer = await checked(session, new types.BrowseNextRequest({ continuationPoints }));
    }
  }
  return found;
}

async function allAttributes(session, nodes) {
  const nodesToRead = nodes.flatMap((nodeId) =>
    Array.from({ length: ATTRIBUTES }, (_, index) => ({ nodeId, attributeId: index + 1 })),
  );
  return (await checked(session, new types.ReadRequest({ nodesToRead }))).results;
}

// An attribute on a walk: why there is none, or its value, with the dimensions of a matrix and the structures' names.
function walked({ value, statusCode }) {
  if (statusCode.name !== "Good") return { status: statusCode.name };
  const found = { status: "Good", ...plainVariant(value) };
  if (!value) return found;
  if (value.arrayType === VariantArrayType.Matrix) found.dimensions = value.dimensions;
  if (value.dataType === DataType.ExtensionObject) {
    const contents = Array.isArray(value.value) ? value.value : [value.value];
    found.structures = contents.map((one) => (one && one.schema ? one.schema.name : one && one.nodeId && one.nodeId.toString()));
  }
  return found;
}

async function checked(session, request) {
  const response = await send(session, request);
  const result = response.responseHeader.serviceResult.name;
  if (result !== "Good") throw new Error(`${request.constructor.name}: ${result}`);
  return response;
}

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
    connectionStrategy: { maxRetry: order.retries || 0, initialDelay: 100, maxDelay: 200 },
    transportTimeout: 20000,
    requestedSessionTimeout: order.timeout || 60000,
    tokenRenewalInterval: order.renewal,
    transportSettings: order.transport,
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
      const renewals = { count: 0 };
      client.on("security_token_renewed", () => (renewals.count += 1));
      clients.set(order.as, { client, session, renewals });
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

  // A client whose channel is open, without a session.
  async open(order) {
    const client = await makeClient(order);
    await client.connect(order.url);
    clients.set(order.as, { client });
    return true;
  },

  async shut(order) {
    const { client } = clients.get(order.as);
    clients.delete(order.as);
    await client.disconnect();
    return true;
  },

  // Any service by its name, with the parameters as the specification names them.
  async service(order) {
    return answerTo(order, asked(order));
  },

  // As `service`, without waiting for the response: `finish` does. Gives the RequestHandle.
  async begin(order) {
    const request = asked(order);
    begun.set(order.key, answerTo(order, request));
    return request.requestHeader.requestHandle;
  },

  async finish(order) {
    const response = await begun.get(order.key);
    begun.delete(order.key);
    return response;
  },

  // The session goes on for another user.
  async identity(order) {
    const { client, session } = clients.get(order.as);
    return (await client.changeSessionIdentity(session, identity(order))).name;
  },

  // The session goes on over the channel of another client, whose own session ends.
  async move(order) {
    const from = clients.get(order.as);
    const to = clients.get(order.to);
    await to.client.reactivateSession(from.session);
    await from.client.disconnect();
    clients.set(order.as, { ...from, client: to.client });
    clients.delete(order.to);
    return true;
  },

  async about(order) {
    const { client, session, renewals } = clients.get(order.as);
    return {
      session: session.sessionId.toString(),
      timeout: session.timeout,
      channel: client._secureChannel.channelId,
      renewals: renewals.count,
    };
  },

  // Everything there is from a node on, along every reference both ways: a JSON object a line in a file.
  async walk(order) {
    const { session } = clients.get(order.as);
    const found = await allReferences(session, order.from);
    const out = fs.createWriteStream(order.file);
    const nodes = [...found.keys()];
    for (let start = 0; start < nodes.length; start += NODES_A_READ) {
      const some = nodes.slice(start, start + NODES_A_READ);
      const values = await allAttributes(session, some);
      some.forEach((node, index) => {
        const own = values.slice(index * ATTRIBUTES, (index + 1) * ATTRIBUTES);
        out.write(`${JSON.stringify({ node, references: found.get(node), attributes: own.map(walked) })}\n`);
      });
    }
    await new Promise((resolve) => out.end(resolve));
    return nodes.length;
  },

  // What is left of a client whose server is gone.
  async forget(order) {
    const { client } = clients.get(order.as);
    clients.delete(order.as);
    await client.disconnect().catch(() => undefined);
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
