// Files of records as the official PocketBase SDK sends and reads them. Closes with its counts.
import assert from "node:assert/strict";
import PocketBase from "pocketbase";

const { KOMBI_TENANT_URL: url, KOMBI_ADMIN_TOKEN } = process.env;

function client(token) {
  const pb = new PocketBase(url);
  pb.autoCancellation(false);
  if (token) pb.authStore.save(token, null);
  return pb;
}

const admin = client(KOMBI_ADMIN_TOKEN), guest = client();
const docs = () => admin.collection("docs");
const file = (text, name) => new File([text], name);
const read = async (address) => {
  const answer = await fetch(address);
  return answer.ok ? answer.text() : answer.status;
};

let doc;
const steps = {
  async "a record is created from an object with files"() {
    await admin.collections.create({ name: "docs", type: "base", viewRule: null, fields: [
      { name: "title", type: "text" }, { name: "count", type: "number" }, { name: "more", type: "json" },
      { name: "files", type: "file", maxSelect: 3 }, { name: "secret", type: "file", protected: true },
    ] });
    doc = await docs().create({ title: "one", count: 7, more: { a: [1] }, files: [file("a", "a.txt"), file("b", "b.txt")] });
    assert.deepEqual([doc.title, doc.count, doc.more, doc.files.length], ["one", 7, { a: [1] }, 2]);
  },

  async "its files are read by their URL"() {
    assert.equal(await read(guest.files.getURL(doc, doc.files[0])), "a");
    assert.equal(await read(guest.files.getURL(doc, doc.files[1], { download: true })), "b");
    assert.equal(await read(guest.files.getURL(doc, "other.txt")), 404);
  },

  async "a form changes it"() {
    const form = new FormData();
    form.append("title", "two");
    form.append("files+", file("c", "c.txt"));
    const changed = await docs().update(doc.id, form);
    assert.equal(changed.title, "two");
    assert.deepEqual(changed.files.slice(0, 2), doc.files);
    assert.equal(await read(guest.files.getURL(changed, changed.files[2])), "c");
    doc = changed;
  },

  async "files are removed by name, and all at once"() {
    let changed = await docs().update(doc.id, { "files-": [doc.files[0]] });
    assert.deepEqual(changed.files, doc.files.slice(1));
    assert.equal(await read(guest.files.getURL(doc, doc.files[0])), 404);
    changed = await docs().update(doc.id, { files: [] });
    assert.deepEqual(changed.files, []);
  },

  async "a protected file needs a file token"() {
    doc = await docs().update(doc.id, { secret: file("s", "s.txt") });
    assert.equal(await read(guest.files.getURL(doc, doc.secret)), 404);
    const token = await admin.files.getToken();
    assert.equal(await read(guest.files.getURL(doc, doc.secret, { token })), "s");
  },

  async "a batch brings files"() {
    await admin.settings.update({ batch: { enabled: true } });
    const batch = admin.createBatch();
    batch.collection("docs").create({ title: "in a batch", files: [file("x", "x.txt")] });
    batch.collection("docs").update(doc.id, { title: "too", files: [file("y", "y.txt")] });
    const [made, changed] = (await batch.send()).map((answer) => answer.body);
    assert.equal(await read(guest.files.getURL(made, made.files[0])), "x");
    assert.equal(await read(guest.files.getURL(changed, changed.files[0])), "y");
  },

  async "a deleted record takes its files along"() {
    const gone = guest.files.getURL(doc, doc.secret);
    await docs().delete(doc.id);
    assert.equal(await read(gone), 404);
  },
};

let passed = 0, failed = 0;
for (const [name, step] of Object.entries(steps)) {
  try {
    await step();
    passed++;
  } catch (error) {
    failed++;
    console.log(`not ok - ${name}: ${error.stack}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
