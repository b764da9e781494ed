// The collections service of the official PocketBase SDK. Closes with its counts.
import assert from "node:assert/strict";
import PocketBase, { ClientResponseError } from "pocketbase";

const { KOMBI_TENANT_URL: url, KOMBI_ADMIN_TOKEN, KOMBI_MEMBER_TOKEN } = process.env;

function client(token) {
  const pb = new PocketBase(url);
  pb.autoCancellation(false);
  if (token) pb.authStore.save(token, null);
  return pb;
}

const admin = client(KOMBI_ADMIN_TOKEN);
const member = client(KOMBI_MEMBER_TOKEN);
const guest = client();
const names = (list) => list.map((one) => one.name);

async function refused(status, promise) {
  const error = await promise.then(
    (answer) => assert.fail(`answered ${JSON.stringify(answer)} instead of ${status}`),
    (problem) => problem,
  );
  assert.ok(error instanceof ClientResponseError, `${error}`);
  assert.equal(error.status, status, JSON.stringify(error.response));
  return error.response.data;
}

const tests = {
  async "collections are the superusers'"() {
    await refused(401, guest.collections.getFullList());
    await refused(403, member.collections.getFullList());
    await refused(403, member.collections.truncate("users"));
    await refused(403, member.collections.import([{ name: "x" }]));
  },

  async "a base collection is made, changed field by field, and keeps its rows"() {
    const made = await admin.collections.create({
      name: "plants", type: "base", listRule: "",
      fields: [{ name: "name", type: "text" }, { name: "kind", type: "select", values: ["tree", "herb"], maxSelect: 1 }],
    });
    await admin.collection("plants").create({ name: "oak", kind: "tree" });
    const fields = made.fields.map((field) => ({ ...field }));
    fields.find((field) => field.name === "name").name = "title";
    fields.find((field) => field.name === "kind").maxSelect = 2;
    await admin.collections.update("plants", { name: "flora", fields });
    const [row] = await admin.collection("flora").getFullList();
    assert.equal(row.title, "oak");
    assert.deepEqual(row.kind, ["tree"]);
    fields.find((field) => field.name === "kind").maxSelect = 1;
    await admin.collections.update(made.id, { fields });
    assert.equal((await admin.collection("flora").getFirstListItem("title='oak'")).kind, "tree");
    const data = await refused(400, admin.collections.update("flora", {
      fields: fields.map((field) => (field.name === "title" ? { ...field, type: "number" } : field)),
    }));
    assert.equal(data.fields[1].type.code, "validation_field_type_change");
  },

  async "an auth collection has its fields, indexes and no secrets"() {
    const made = await admin.collections.create({ name: "customers", type: "auth" });
    assert.deepEqual(names(made.fields), ["id", "password", "tokenKey", "email", "emailVisibility", "verified"]);
    assert.equal(made.indexes.length, 2);
    assert.equal(JSON.stringify(made).includes("secret"), false);
    const data = await refused(400, admin.collections.update("customers", { mfa: { enabled: true } }));
    assert.equal(data.mfa.enabled.code, "validation_mfa_not_enough_auths");
    await refused(400, admin.collections.update("customers", { passwordAuth: { enabled: true, identityFields: ["verified"] } }));
  },

  async "indexes are unique, over expressions and conditions"() {
    const flora = await admin.collections.update("flora", {
      indexes: ["CREATE UNIQUE INDEX idx_lower ON flora (lower(title)) WHERE kind != '' AND title > 'A'"],
    });
    assert.equal(flora.indexes.length, 1);
    await refused(400, admin.collection("flora").create({ title: "OAK", kind: "tree" }));
    await admin.collection("flora").create({ title: "OAK" });
    for (const bad of ["CREATE INDEX x ON flora (title); DROP TABLE users", "CREATE INDEX x ON flora (title) WHERE 1 -- x",
      "CREATE INDEX x ON flora ((SELECT 1))", "CREATE INDEX x ON flora (lower(title)"])
      await refused(400, admin.collections.update("flora", { indexes: [bad] }));
    await admin.collections.update("flora", { indexes: [] });
  },

  async "a view shows what it reads, follows its changes and writes nothing"() {
    const view = await admin.collections.create({
      name: "kinds", type: "view", listRule: "", viewRule: "",
      viewQuery: "select f.id, f.title, f.kind, count(*) as total, upper(f.title) as loud from flora f group by f.id",
    });
    assert.deepEqual(view.fields.map((field) => field.type), ["text", "text", "select", "number", "json"]);
    const list = await guest.collection("kinds").getFullList({ filter: "title='oak'" });
    assert.equal(list.length, 1, JSON.stringify(await admin.collection("kinds").getFullList()));
    assert.equal(list[0].loud, "OAK");
    await refused(400, admin.collection("kinds").create({ title: "x" }));
    await refused(400, admin.collections.truncate("kinds"));
    const flora = await admin.collections.getOne("flora");
    flora.fields.find((field) => field.name === "kind").values.push("moss");
    await admin.collections.update("flora", { fields: flora.fields });
    assert.deepEqual((await admin.collections.getOne("kinds")).fields[2].values, ["tree", "herb", "moss"]);
    await refused(400, admin.collections.update("flora", { fields: flora.fields.filter((field) => field.name !== "title") }));
    await refused(400, admin.collections.delete("flora"));
    assert.equal((await guest.collection("kinds").getFullList()).length, 2);
  },

  async "views read collections and nothing else"() {
    for (const viewQuery of ["select 1 as id, * from sqlite_master", "select id, tokenKey from users", "delete from users",
      "select id from _collections", "select name as id from pragma_table_info('users')", "select id from users; select 1",
      "select seq as id from _kombi_changes", "attach 'x' as y", "select load_extension('x') as id"])
      await refused(400, admin.collections.create({ name: "peek", type: "view", viewQuery }));
  },

  async "a query is tried before it is kept"() {
    const rows = await admin.collections.dryRunViewQuery("select id, title from flora");
    assert.ok(JSON.stringify(rows).includes("oak"));
    await refused(400, admin.collections.dryRunViewQuery("select nothing"));
  },

  async "collections are listed by filter, sort and fields"() {
    const page = await admin.collections.getList(1, 2, { filter: "type='auth' && system=false", sort: "-name", fields: "name,type" });
    assert.deepEqual(page.items, [{ name: "customers", type: "auth" }]);
    assert.equal(page.totalItems, 1);
    assert.equal((await admin.collections.getFirstListItem("name='flora'")).name, "flora");
    await refused(400, admin.collections.getList(1, 2, { filter: "options != ''" }));
  },

  async "an import takes all or nothing, in any order"() {
    const wanted = [
      { name: "seen", type: "view", viewQuery: "select id, label, near from spots" },
      { id: "pbc_spots0000001", name: "spots", type: "base", listRule: "near.label != ''",
        fields: [{ name: "label", type: "text" }, { name: "near", type: "relation", collectionId: "pbc_areas0000001", maxSelect: 1 }] },
      { id: "pbc_areas0000001", name: "areas", type: "base", fields: [{ name: "label", type: "text" }] },
    ];
    await refused(400, admin.collections.import([...wanted, { name: "worse", listRule: "no = 1" }]));
    assert.equal((await admin.collections.getFullList({ filter: "name='areas'" })).length, 0);
    await admin.collections.import(wanted);
    assert.deepEqual((await admin.collections.getOne("seen")).fields.map((field) => field.type), ["text", "text", "relation"]);
    await admin.collections.import([{ name: "areas", type: "base", fields: [{ name: "size", type: "number" }] }]);
    assert.deepEqual(names((await admin.collections.getOne("areas")).fields).sort(), ["id", "label", "size"]);
    const all = await admin.collections.getFullList();
    await admin.collections.import(all.filter((one) => one.name !== "customers"), true);
    await refused(404, admin.collections.getOne("customers"));
    assert.equal((await guest.collection("kinds").getFullList()).length, 2);
  },

  async "truncate empties, delete removes, system collections stay"() {
    await admin.collections.delete("kinds");
    await admin.collections.truncate("flora");
    assert.equal((await admin.collection("flora").getList()).totalItems, 0);
    await refused(400, admin.collections.delete("areas"));
    await admin.collections.delete("seen");
    await admin.collections.delete("spots");
    await admin.collections.delete("areas");
    await refused(400, admin.collections.delete("_superusers"));
    const data = await refused(400, admin.collections.update("_superusers", { listRule: "" }));
    assert.equal(data.listRule.code, "validation_collection_system_rule_change");
  },

  async "scaffolds and providers are told"() {
    assert.deepEqual(Object.keys(await admin.collections.getScaffolds()).sort(), ["auth", "base", "view"]);
    assert.ok((await admin.collections.getAllOAuth2Providers()).some((one) => one.name === "github" && one.displayName === "GitHub"));
  },
};

let passed = 0;
let failed = 0;
for (const [name, run] of Object.entries(tests)) {
  try {
    await run();
    passed++;
  } catch (problem) {
    failed++;
    console.log(`FAILED ${name}\n  ${problem.stack}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
