// The records API as the official PocketBase SDK uses it. Closes with its counts.
import assert from "node:assert/strict";
import PocketBase, { ClientResponseError } from "pocketbase";

const { KOMBI_TENANT_URL: url, KOMBI_ADMIN_TOKEN, KOMBI_MEMBER_TOKEN, KOMBI_MEMBER_ID, KOMBI_STRANGER_TOKEN } =
  process.env;

function client(token) {
  const pb = new PocketBase(url);
  pb.autoCancellation(false);
  if (token) pb.authStore.save(token, null);
  return pb;
}

const admin = client(KOMBI_ADMIN_TOKEN);
const member = client(KOMBI_MEMBER_TOKEN);
const guest = client();
const stranger = client(KOMBI_STRANGER_TOKEN);

async function refused(status, promise, message) {
  const error = await promise.then(
    (answer) => assert.fail(`answered ${JSON.stringify(answer)} instead of ${status}`),
    (problem) => problem,
  );
  assert.ok(error instanceof ClientResponseError, `${error}`);
  assert.equal(error.status, status, JSON.stringify(error.response));
  assert.deepEqual(Object.keys(error.response).sort(), ["data", "message", "status"]);
  if (message) assert.equal(error.response.message, message);
  return error.response.data;
}

const tests = {
  async "the API is healthy"() {
    assert.deepEqual(await guest.health.check(), { code: 200, message: "API is healthy.", data: {} });
  },

  async "a token is refreshed and keeps its record"() {
    const answer = await member.collection("users").authRefresh();
    assert.equal(answer.record.id, KOMBI_MEMBER_ID);
    assert.equal(answer.record.collectionName, "users");
    assert.equal(answer.record.email, "ben@example.com");
    assert.ok(member.authStore.isValid);
    await refused(401, guest.collection("users").authRefresh(),
      "The request requires valid record authorization token.");
    await refused(401, stranger.collection("users").authRefresh());
  },

  async "sign-in methods are told"() {
    const methods = await guest.collection("users").listAuthMethods();
    assert.deepEqual(methods.password, { enabled: true, identityFields: ["email"] });
    assert.deepEqual(methods.oauth2.providers, []);
    assert.equal(methods.mfa.enabled, false);
  },

  async "an admin makes and changes collections"() {
    const authors = await admin.collections.create({
      name: "authors", type: "base", listRule: "", viewRule: "",
      fields: [{ name: "name", type: "text", required: true }],
    });
    assert.match(authors.id, /^pbc_\d+$/);
    assert.deepEqual(authors.fields.map((field) => field.name), ["id", "name"]);
    const books = await admin.collections.create({
      name: "books", type: "base", listRule: "", viewRule: "", createRule: "@request.auth.id != ''",
      updateRule: "owner = @request.auth.id", deleteRule: "owner = @request.auth.id",
      fields: [
        { name: "title", type: "text", required: true, max: 50 },
        { name: "pages", type: "number", onlyInt: true, min: 1 },
        { name: "read", type: "bool" },
        { name: "genres", type: "select", values: ["novel", "poem", "essay"], maxSelect: 3 },
        { name: "printed", type: "date" },
        { name: "extra", type: "json" },
        { name: "author", type: "relation", collectionId: authors.id, maxSelect: 1 },
        { name: "owner", type: "relation", collectionId: "_pb_users_auth_", maxSelect: 1 },
        { name: "created", type: "autodate", onCreate: true },
        { name: "updated", type: "autodate", onCreate: true, onUpdate: true },
      ],
      indexes: ["CREATE UNIQUE INDEX `idx_title` ON `books` (`title`)"],
    });
    assert.equal(books.deleteRule, "owner = @request.auth.id");
    assert.equal((await admin.collections.getOne("books")).id, books.id);
    const names = (await admin.collections.getFullList()).filter((collection) => !collection.name.startsWith("_")).map((collection) => collection.name);
    assert.deepEqual(names, ["users", "authors", "books"]);
    const changed = await admin.collections.update(books.id, {
      fields: [...books.fields, { name: "note", type: "text", hidden: true }],
    });
    assert.equal(changed.fields.at(-1).name, "note");
    const data = await refused(400, admin.collections.create({ name: "books" }), "Failed to create collection.");
    assert.equal(data.name.code, "validation_collection_name_exists");
    await refused(403, member.collections.getFullList());
    await refused(401, guest.collections.getFullList());
  },

  async "records are created, read, changed and deleted"() {
    const ursula = await admin.collection("authors").create({ name: "Ursula" });
    assert.match(ursula.id, /^[a-z0-9]{15}$/);
    const books = member.collection("books");
    const book = await books.create({
      title: "The Dispossessed", pages: 341, genres: ["novel"], printed: new Date("1974-05-01T00:00:00Z"),
      extra: { awards: ["Hugo", "Nebula"], isbn: { ten: "0060125632" } }, author: ursula.id, owner: KOMBI_MEMBER_ID,
    });
    assert.equal(book.printed, "1974-05-01 00:00:00.000Z");
    assert.match(book.created, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(book.extra.awards, ["Hugo", "Nebula"]);
    assert.ok(!("note" in book));
    const expanded = await guest.collection("books").getOne(book.id, { expand: "author" });
    assert.equal(expanded.expand.author.name, "Ursula");
    const changed = await books.update(book.id, { "pages+": 9, "genres+": "essay", read: true });
    assert.equal(changed.pages, 350);
    assert.deepEqual(changed.genres, ["novel", "essay"]);
    await refused(404, guest.collection("books").update(book.id, { pages: 1 }),
      "The requested resource wasn't found.");
    const other = await admin.collection("books").create({ title: "Always Coming Home", pages: 523, author: ursula.id });
    await refused(404, books.delete(other.id));
    assert.equal(await admin.collection("books").delete(other.id), true);
    await refused(404, books.getOne(other.id));
  },

  async "lists are filtered, sorted and paged"() {
    for (let i = 1; i <= 25; i++)
      await admin.collection("books").create({ title: `volume ${i}`, pages: i, genres: i % 2 ? ["poem"] : [] });
    const page = await guest.collection("books").getList(2, 10, {
      filter: guest.filter("title ~ {:title} && pages > {:pages}", { title: "volume", pages: 2 }),
      sort: "-pages", fields: "title,pages",
    });
    assert.deepEqual([page.page, page.perPage, page.totalItems, page.totalPages], [2, 10, 23, 3]);
    assert.deepEqual(page.items[0], { title: "volume 15", pages: 15 });
    const all = await guest.collection("books").getFullList({ batch: 7 });
    assert.equal(all.length, 26);
    const first = await guest.collection("books").getFirstListItem('author.name = "Ursula"');
    assert.equal(first.title, "The Dispossessed");
    const late = await guest.collection("books").getList(1, 1, {
      filter: guest.filter("created >= {:day}", { day: new Date(Date.now() - 3600e3) }), skipTotal: true,
    });
    assert.deepEqual([late.totalItems, late.totalPages, late.items.length], [-1, -1, 1]);
    await assert.rejects(guest.collection("books").getFirstListItem("pages = 1000"), { status: 404 });
    await refused(400, guest.collection("books").getList(1, 1, { filter: "nothing = 1" }));
    await refused(403, guest.collection("books").getList(1, 1, { filter: "@request.auth.id = ''" }));
  },

  async "what is wrong is told by field"() {
    const data = await refused(400, admin.collection("books").create({ pages: 0.5, genres: ["play"], author: "x" }),
      "Failed to create record.");
    assert.equal(data.title.code, "validation_required");
    assert.equal(data.pages.code, "validation_only_int_constraint");
    assert.equal(data.genres.code, "validation_invalid_value");
    assert.equal(data.author.code, "validation_missing_rel_records");
    const twice = await refused(400, admin.collection("books").create({ title: "volume 1" }));
    assert.equal(twice.title.code, "validation_not_unique");
    const long = await refused(400, admin.collection("books").create({ title: "x".repeat(51) }));
    assert.deepEqual(long.title.params, { max: 50 });
    await refused(400, guest.collection("books").create({ title: "by nobody" }));
    await refused(404, guest.collection("shelves").getList(), "Missing collection context.");
    await refused(403, guest.collection("authors").create({ name: "x" }), "Only superusers can perform this action.");
  },

  async "members see each other without addresses"() {
    const users = await member.collection("users").getFullList({ sort: "name" });
    assert.deepEqual(users.map((user) => [user.name, user.email]), [["ada", undefined], ["ben", "ben@example.com"]]);
    assert.equal((await guest.collection("users").getList()).totalItems, 0);
    await refused(404, member.collection("users").update(KOMBI_MEMBER_ID, { role: "admin" }));
  },

  async "a collection goes with its records"() {
    await refused(400, admin.collections.delete("authors"));
    await admin.collections.delete("books");
    await refused(404, guest.collection("books").getList(), "Missing collection context.");
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
