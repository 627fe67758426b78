// Verifies callbacks, one JSON line each on stdin: {secret, headers, body, source?}. Prints how many were good.
// `source`, where given, has to be what was normalised into the body's metadata.
const crypto = require("node:crypto");
const readline = require("node:readline");
const { Webhook } = require("standardwebhooks");

function byHand(secret, headers, parsed) {
  const signature = headers["x-webhook-signature"];
  const stamp = headers["x-webhook-timestamp"];
  if (!signature.startsWith("sha256=")) throw new Error("no sha256 signature");
  if (Math.abs(Date.now() / 1000 - Number(stamp)) > 300) throw new Error("stale");
  // As handlers behind a JSON body parser do: the body is written anew before it is hashed.
  const text = JSON.stringify(parsed);
  const expected = crypto.createHmac("sha256", secret).update(`${stamp}.${text}`).digest();
  const given = Buffer.from(signature.slice("sha256=".length), "hex");
  if (!crypto.timingSafeEqual(expected, given)) throw new Error("signature differs");
}

function check({ secret, headers, body, source }) {
  byHand(secret, headers, JSON.parse(body));
  const key = "whsec_" + Buffer.from(secret, "utf8").toString("base64");
  new Webhook(key).verify(body, headers);
  if (source !== undefined && JSON.stringify(JSON.parse(body).metadata) !== JSON.stringify(JSON.parse(source))) {
    throw new Error("metadata differs");
  }
}

let good = 0;
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  try {
    check(JSON.parse(line));
    good += 1;
  } catch (error) {
    console.error(`${error}: ${line}`);
    process.exitCode = 1;
  }
}).on("close", () => console.log(good));
