// Realtime as the official PocketBase SDK has it. Closes with its counts.
import assert from "node:assert/strict";
import { EventSource } from "eventsource";
import PocketBase from "pocketbase";

globalThis.EventSource = EventSource;

const { KOMBI_TENANT_URL: url, KOMBI_ADMIN_TOKEN, KOMBI_MEMBER_TOKEN } = process.env;

function client(token) {
  const pb = new PocketBase(url);
  pb.autoCancellation(false);
  if (token) pb.authStore.save(token, null);
  return pb;
}

// What a subscription was told, in order; next() waits for the next one.
function inbox() {
  const told = [], waiting = [];
  return {
    told,
    push: (event) => (waiting.length ? waiting.shift()(event) : told.push(event)),
    next: () => new Promise((resolve, reject) => {
      if (told.length) return resolve(told.shift());
      const late = setTimeout(() => reject(new Error("nothing was told")), 15000);
      waiting.push((event) => (clearTimeout(late), resolve(event)));
    }),
  };
}

const admin = client(KOMBI_ADMIN_TOKEN), guest = client(), member = client(KOMBI_MEMBER_TOKEN);
const notes = (pb) => pb.collection("notes");
const open = { listRule: "", viewRule: "", createRule: "", updateRule: "", deleteRule: "" };

const steps = {
  async "a subscriber is told of every change"() {
    await admin.collections.create({ name: "notes", type: "base", fields: [{ name: "title", type: "text" }], ...open });
    const box = inbox();
    await notes(guest).subscribe("*", box.push);
    const note = await notes(admin).create({ title: "one" });
    await notes(admin).update(note.id, { title: "two" });
    await notes(admin).delete(note.id);
    for (const [action, title] of [["create", "one"], ["update", "two"], ["delete", "two"]]) {
      const event = await box.next();
      assert.equal(event.action, action);
      assert.equal(event.record.id, note.id);
      assert.equal(event.record.title, title);
      assert.equal(event.record.collectionName, "notes");
    }
    await notes(guest).unsubscribe("*");
  },

  async "one record is followed, and no other"() {
    const [mine, other] = [await notes(admin).create({ title: "mine" }), await notes(admin).create({ title: "other" })];
    const box = inbox();
    const leave = await notes(guest).subscribe(mine.id, box.push);
    await notes(admin).update(other.id, { title: "not told" });
    await notes(admin).update(mine.id, { title: "told" });
    assert.equal((await box.next()).record.title, "told");
    assert.equal(box.told.length, 0);
    await leave();
    assert.equal(guest.realtime.isConnected, false);
  },

  async "filter and fields of a subscription hold"() {
    const box = inbox();
    await notes(guest).subscribe("*", box.push, { filter: "title ~ 'yes/'", fields: "title" });
    await notes(admin).create({ title: "no" });
    await notes(admin).create({ title: "yes/no" });
    assert.deepEqual((await box.next()).record, { title: "yes/no" });
    await notes(guest).unsubscribe();
  },

  async "rules are those of who subscribed"() {
    await admin.collections.create({
      name: "secrets", type: "base", fields: [{ name: "title", type: "text" }], ...open, listRule: "@request.auth.id != ''",
    });
    const [seen, unseen, open_] = [inbox(), inbox(), inbox()];
    await member.collection("secrets").subscribe("*", seen.push);
    await guest.collection("secrets").subscribe("*", unseen.push);
    await notes(guest).subscribe("*", open_.push);
    await admin.collection("secrets").create({ title: "s" });
    await notes(admin).create({ title: "after" });
    assert.equal((await seen.next()).record.title, "s");
    assert.equal((await open_.next()).record.title, "after");
    assert.equal(unseen.told.length, 0);
  },

  async "a guest who signs in becomes somebody on the same stream"() {
    const id = guest.realtime.clientId, seen = inbox();
    guest.authStore.save(KOMBI_MEMBER_TOKEN, null);
    await guest.collection("secrets").subscribe("*", seen.push, { headers: { "x-any": "1" } });
    assert.equal(guest.realtime.clientId, id);
    await admin.collection("secrets").create({ title: "now" });
    assert.equal((await seen.next()).record.title, "now");
  },

  async "who comes back subscribes anew by itself"() {
    const box = inbox(), before = member.realtime.clientId;
    await notes(member).subscribe("*", box.push);
    await member.realtime.unsubscribe();
    assert.equal(member.realtime.isConnected, false);
    await notes(member).subscribe("*", box.push);
    assert.notEqual(member.realtime.clientId, before);
    await notes(admin).create({ title: "again" });
    assert.equal((await box.next()).record.title, "again");
  },
};

let passed = 0, failed = 0;
for (const [name, step] of Object.entries(steps)) {
  try {
    await step();
    passed++;
  } catch (problem) {
    failed++;
    console.log(`FAILED ${name}: ${problem.stack ?? problem} ${JSON.stringify(problem.response ?? {})}`);
  }
}
for (const pb of [guest, member]) await pb.realtime.unsubscribe();
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed ? 1 : 0);
