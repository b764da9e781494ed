// Who exists: organisations and users from users.json, plus those made while
// running, and the Zitadel claims that follow from them.
import { randomInt } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const EMAIL = /^[^\s@<>"]{1,64}@[a-z0-9.-]{1,190}$/i;
const PLANS = ['free', 'pro', 'enterprise'];

export class Invalid extends Error {}

const check = (good, message) => { if (!good) throw new Invalid(message); };
const newId = () => `33${randomInt(1e8, 1e9)}${randomInt(1e6, 1e7)}`;

export class Directory {
  #made = { organisations: [], users: [] };

  constructor(usersFile, dataDir, { profileInToken }) {
    const { organisations, users } = JSON.parse(readFileSync(usersFile, 'utf8'));
    this.orgs = new Map(organisations.map((o) => [o.name, o]));
    this.users = new Map(users.map((u) => [u.id, u]));
    this.profileInToken = profileInToken;
    this.madeFile = join(dataDir, 'made.json');
    if (existsSync(this.madeFile)) this.#restore(JSON.parse(readFileSync(this.madeFile, 'utf8')));
  }

  #restore(made) {
    this.#made = made;
    for (const org of made.organisations) this.orgs.set(org.name, org);
    for (const user of made.users) this.users.set(user.id, user);
  }

  // By id, by name, or by e-mail address: what a person may type as login hint.
  find(who) {
    return this.users.get(who)
      ?? [...this.users.values()].find((u) => u.name === who || u.email === who);
  }

  // The first user of an organisation that `org` names; "acme" -> alice.
  firstOf(org) {
    return [...this.users.values()].find((u) => u.org === org);
  }

  create({ name, org, email, displayName, plan, roles = ['user'] }) {
    check(NAME.test(name ?? ''), 'name: a-z, 0-9 and dashes, at most 63 characters');
    check(NAME.test(org ?? ''), 'org: a-z, 0-9 and dashes, at most 63 characters');
    check(email === undefined || EMAIL.test(email), 'email: must be an e-mail address');
    check(displayName === undefined || typeof displayName === 'string', 'displayName: must be a string');
    check(plan === undefined || PLANS.includes(plan), `plan: one of ${PLANS.join(', ')}`);
    check(Array.isArray(roles) && roles.every((r) => NAME.test(String(r).replaceAll(/[_:]/g, '-'))),
      'roles: a list of role names');
    check(!this.find(name), `name: a user '${name}' exists`);
    this.#org(org);
    const user = { id: newId(), name, displayName: displayName ?? name, email: email ?? `${name}@${org}.localhost`,
      org, plan, roles: Object.fromEntries(roles.map((r) => [r, [org]])) };
    this.users.set(user.id, user);
    this.#made.users.push(user);
    this.#save();
    return user;
  }

  #org(name) {
    if (this.orgs.has(name)) return;
    const org = { id: newId(), name, domain: `${name}.localhost` };
    this.orgs.set(name, org);
    this.#made.organisations.push(org);
  }

  #save() {
    writeFileSync(`${this.madeFile}.new`, JSON.stringify(this.#made, null, 2), { mode: 0o600 });
    renameSync(`${this.madeFile}.new`, this.madeFile);
  }

  describe(user) {
    return { ...user, orgId: this.orgs.get(user.org).id };
  }

  // role -> { orgId: domain } for every organisation in which it is held.
  #roleClaim(user) {
    const held = (names) => Object.fromEntries(names.map((n) => [this.orgs.get(n).id, this.orgs.get(n).domain]));
    return Object.fromEntries(Object.entries(user.roles).map(([role, names]) => [role, held(names)]));
  }

  profile(user) {
    return { email: user.email, email_verified: true, name: user.displayName, preferred_username: user.name };
  }

  identity(user) {
    const { id } = this.orgs.get(user.org);
    return {
      'urn:zitadel:iam:user:resourceowner:id': id,
      'urn:zitadel:iam:user:resourceowner:name': user.org,
      'urn:zitadel:iam:org:id': id,
      'urn:zitadel:iam:org:project:roles': this.#roleClaim(user),
      ...(user.plan ? { plan: user.plan } : {}),
    };
  }

  // Zitadel's own access tokens carry no e-mail and no name.
  tokenClaims(user) {
    const { email, name } = this.profile(user);
    return { ...this.identity(user), ...(this.profileInToken ? { email, name } : {}) };
  }
}
