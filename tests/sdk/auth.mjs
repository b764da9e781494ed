// Every way of signing in as the official PocketBase SDK has it. Closes with its counts.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import PocketBase, { ClientResponseError, getTokenPayload } from "pocketbase";

const { KOMBI_TENANT_URL: url, KOMBI_ADMIN_TOKEN, KOMBI_MAIL_DIR, TEST_PROVIDER } = process.env;
const password = "correct horse", email = "ann@example.com";

function client(token) {
  const pb = new PocketBase(url);
  pb.autoCancellation(false);
  if (token) pb.authStore.save(token, null);
  return pb;
}

const admin = client(KOMBI_ADMIN_TOKEN), ann = client(), root = client();
const users = () => ann.collection("users");

async function refused(status, promise) {
  const error = await promise.then(
    (answer) => assert.fail(`answered ${JSON.stringify(answer)} instead of ${status}`),
    (problem) => problem,
  );
  assert.ok(error instanceof ClientResponseError, `${error}`);
  assert.equal(error.status, status, JSON.stringify(error.response));
  return error.response;
}

// The text part of the next mail of the mailbox.
const told = new Set();
async function mail() {
  for (const end = Date.now() + 15000; Date.now() < end; ) {
    const name = readdirSync(KOMBI_MAIL_DIR).filter((n) => n.endsWith(".eml") && !told.has(n)).sort()[0];
    if (name) {
      told.add(name);
      const part = readFileSync(join(KOMBI_MAIL_DIR, name), "latin1").split("\r\n\r\n")[2].split("\r\n--")[0];
      return Buffer.from(part, "base64").toString();
    }
    await new Promise((next) => setTimeout(next, 10));
  }
  throw new Error("no mail came");
}
const tokenOf = (text) => text.match(/eyJ[\w-]+\.[\w-]+\.[\w-]+/)[0];

const tests = {
  async "people register where they host themselves"() {
    await admin.collections.update("users", { createRule: "", viewRule: "id = @request.auth.id", authAlert: { enabled: false } });
    const made = await users().create({ email, password, passwordConfirm: password, name: "Ann" });
    assert.equal(made.role, "");
    assert.equal(made.verified, false);
    assert.equal(made.password, undefined);
    assert.equal(made.tokenKey, undefined);
    await refused(400, users().create({ email: "b@example.com", password, passwordConfirm: password, role: "admin" }));
  },

  async "a password signs in"() {
    await refused(400, users().authWithPassword(email, "wrong horse"));
    const answer = await users().authWithPassword(email, password);
    assert.equal(answer.record.email, email);
    assert.ok(ann.authStore.isValid);
    assert.equal(ann.authStore.isSuperuser, false);
    assert.deepEqual(Object.keys(getTokenPayload(answer.token)).sort(), ["collectionId", "exp", "id", "refreshable", "type"]);
  },

  async "a token is refreshed"() {
    const answer = await users().authRefresh();
    assert.equal(answer.record.id, ann.authStore.record.id);
  },

  async "who has no role is nobody on the platform"() {
    const answer = await fetch(`${url}/v1/tenant`, { headers: { Authorization: ann.authStore.token } });
    assert.equal(answer.status, 401);
  },

  async "an address is verified by mail"() {
    assert.equal(await users().requestVerification(email), true);
    assert.equal(await users().confirmVerification(tokenOf(await mail())), true);
    assert.equal(ann.authStore.record.verified, true);
  },

  async "a forgotten password is set anew"() {
    assert.equal(await users().requestPasswordReset(email), true);
    assert.equal(await users().confirmPasswordReset(tokenOf(await mail()), "second horse", "second horse"), true);
    await refused(401, users().authRefresh());
    await users().authWithPassword(email, "second horse");
  },

  async "an address is changed"() {
    assert.equal(await users().requestEmailChange("anna@example.com"), true);
    assert.equal(await users().confirmEmailChange(tokenOf(await mail()), "second horse"), true);
    assert.equal(ann.authStore.isValid, false);
    await users().authWithPassword("anna@example.com", "second horse");
  },

  async "a one-time password is the second factor"() {
    await admin.collections.update("users", { otp: { enabled: true }, mfa: { enabled: true } });
    const half = await refused(401, client().collection("users").authWithPassword("anna@example.com", "second horse"));
    assert.deepEqual(Object.keys(half), ["mfaId"]);
    const { otpId } = await users().requestOTP("anna@example.com");
    const code = (await mail()).match(/\b\d{8}\b/)[0];
    const answer = await users().authWithOTP(otpId, code, { mfaId: half.mfaId });
    assert.equal(answer.record.email, "anna@example.com");
    await admin.collections.update("users", { mfa: { enabled: false } });
  },

  async "another provider signs in"() {
    await admin.collections.update("users", { oauth2: { enabled: true, providers: [{
      name: "oidc", displayName: "Home", clientId: "client", clientSecret: "secret&more", authURL: `${TEST_PROVIDER}/auth`,
      tokenURL: `${TEST_PROVIDER}/token`, userInfoURL: `${TEST_PROVIDER}/userinfo` }] } });
    const methods = await client().collection("users").listAuthMethods();
    assert.equal(methods.oauth2.providers[0].displayName, "Home");
    assert.ok(methods.oauth2.providers[0].authURL.endsWith("&redirect_uri="));
    const cat = client();
    const answer = await cat.collection("users").authWithOAuth2Code("oidc", "cat", methods.oauth2.providers[0].codeVerifier, "http://localhost/back");
    assert.equal(answer.meta.isNew, true);
    assert.equal(answer.meta.email, "cat@example.com");
    assert.ok(cat.authStore.isValid);
    const links = await cat.collection("users").listExternalAuths(answer.record.id);
    assert.deepEqual(links.map((l) => [l.provider, l.providerId]), [["oidc", "1"]]);
    assert.equal(await cat.collection("users").unlinkExternalAuth(answer.record.id, "oidc"), true);
  },

  async "a superuser signs in and acts as another one"() {
    await root.collection("_superusers").authWithPassword("root@example.com", password);
    assert.ok(root.authStore.isSuperuser);
    const acting = await root.collection("users").impersonate(ann.authStore.record.id, 60);
    assert.equal(acting.authStore.record.id, ann.authStore.record.id);
    assert.equal(getTokenPayload(acting.authStore.token).refreshable, false);
    const before = acting.authStore.token;
    await acting.collection("users").authRefresh();
    assert.equal(acting.authStore.token, before);
    await refused(403, ann.collection("users").impersonate(ann.authStore.record.id, 60));
  },

  async "a superuser tries the mails"() {
    for (const template of ["verification", "password-reset", "email-change", "otp", "login-alert"]) {
      assert.equal(await root.settings.testEmail("users", "try@example.com", template), true);
      assert.ok((await mail()).length > 40);
    }
    await refused(400, root.settings.testEmail("users", "try@example.com", "nothing"));
    await refused(400, root.settings.testEmail("nothing", "try@example.com", "otp"));
    await refused(403, ann.settings.testEmail("users", "try@example.com", "otp"));
  },

  async "a token for files is given"() {
    assert.equal(getTokenPayload(await ann.files.getToken()).type, "file");
    await refused(401, client().files.getToken());
  },

  async "the only superuser stays"() {
    await refused(400, root.collection("_superusers").delete(root.authStore.record.id));
  },

  async "who goes takes the session along"() {
    await admin.collections.update("users", { deleteRule: "id = @request.auth.id" });
    await users().delete(ann.authStore.record.id);
    await refused(401, users().authRefresh());
  },
};

let passed = 0, failed = 0;
for (const [name, run] of Object.entries(tests)) {
  try {
    await run();
    passed++;
  } catch (error) {
    failed++;
    console.log(`FAILED ${name}\n  ${String(error.stack ?? error).slice(0, 900)}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
