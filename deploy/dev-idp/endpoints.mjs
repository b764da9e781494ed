// What Zitadel answers and oidc-provider does not (userinfo and introspection
// of JWT access tokens), health, and the development-only doors /dev/*.
import { timingSafeEqual } from 'node:crypto';
import { createLocalJWKSet, importJWK, jwtVerify, SignJWT } from 'jose';
import { Invalid } from './directory.mjs';

const LOOPBACK = /^(127\.|::1$|::ffff:127\.)/;
const LOOPBACK_NAME = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?$/;

async function readBody(req, limit = 16384) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size > limit) throw new Invalid(`body: at most ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

async function readJson(ctx) {
  if (!ctx.is('application/json')) throw new Invalid('content-type: must be application/json');
  try {
    const body = JSON.parse(await readBody(ctx.req));
    if (body !== null && typeof body === 'object' && !Array.isArray(body)) return body;
  } catch (error) {
    if (error instanceof Invalid) throw error;
  }
  throw new Invalid('body: must be a JSON object');
}

const bearer = (ctx) => /^Bearer (\S+)$/i.exec(ctx.get('authorization'))?.[1];
const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

export function endpoints({ issuer, audience, clientId, tokenTtl, serviceSecret }, keys, directory) {
  const { kty, n, e, kid, alg, use } = keys.signing;
  const jwks = createLocalJWKSet({ keys: [{ kty, n, e, kid, alg, use }] });
  const verify = async (token) => (await jwtVerify(token, jwks, { issuer, audience, algorithms: ['RS256'] })).payload;

  async function userinfo(ctx) {
    const claims = await verify(bearer(ctx) ?? '').catch(() => null);
    const user = claims && directory.find(claims.sub);
    if (!user) {
      ctx.status = 401;
      ctx.set('www-authenticate', 'Bearer error="invalid_token"');
      ctx.body = { error: 'invalid_token' };
      return;
    }
    ctx.body = { sub: user.id, ...directory.profile(user), ...directory.identity(user) };
  }

  async function introspect(ctx) {
    const basic = Buffer.from(/^Basic (\S+)$/i.exec(ctx.get('authorization'))?.[1] ?? '', 'base64').toString();
    if (!serviceSecret || !same(basic, `kombify-service:${serviceSecret}`)) {
      ctx.status = 401;
      ctx.body = { error: 'invalid_client' };
      return;
    }
    const token = new URLSearchParams(await readBody(ctx.req)).get('token') ?? '';
    const claims = await verify(token).catch(() => null);
    ctx.body = claims ? { active: true, token_type: 'Bearer', ...claims } : { active: false };
  }

  async function createUser(ctx) {
    ctx.body = directory.describe(directory.create(await readJson(ctx)));
    ctx.status = 201;
  }

  // A bearer token as the code flow would give it. `org` alone picks that
  // organisation's first user; `plan` replaces the user's own plan.
  async function issueToken(ctx) {
    const { user: who, org, plan, ttl = tokenTtl } = await readJson(ctx);
    const user = who ? directory.find(who) : directory.firstOf(org ?? 'acme');
    if (!user) throw new Invalid(who ? `user: there is no '${who}'` : `org: nobody belongs to '${org}'`);
    if (who && org && user.org !== org) throw new Invalid(`user: '${who}' belongs to '${user.org}', not '${org}'`);
    if (plan && !['free', 'pro', 'enterprise'].includes(plan)) throw new Invalid('plan: one of free, pro, enterprise');
    if (!Number.isInteger(ttl) || ttl < 1 || ttl > tokenTtl) throw new Invalid(`ttl: between 1 and ${tokenTtl} seconds`);
    const claims = { ...directory.tokenClaims(user), ...(plan ? { plan } : {}), client_id: clientId, scope: 'openid profile email' };
    const now = Math.floor(Date.now() / 1000);
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'RS256', typ: 'at+jwt', kid: keys.signing.kid })
      .setIssuer(issuer).setAudience(audience).setSubject(user.id)
      .setIssuedAt(now).setNotBefore(now).setExpirationTime(now + ttl).setJti(crypto.randomUUID())
      .sign(await importJWK(keys.signing, 'RS256'));
    ctx.body = { access_token: token, token_type: 'Bearer', expires_in: ttl, sub: user.id };
  }

  const health = (ctx) => { ctx.body = { status: 'healthy', users: directory.users.size }; };
  const users = (ctx) => { ctx.body = { users: [...directory.users.values()].map((u) => directory.describe(u)) }; };
  const table = {
    'GET /health': health, 'GET /ready': health, 'GET /debug/ready': health,
    'GET /oidc/v1/userinfo': userinfo, 'POST /oidc/v1/userinfo': userinfo,
    'POST /oauth/v2/introspect': introspect,
    'GET /dev/users': users, 'POST /dev/users': createUser, 'POST /dev/token': issueToken,
  };

  return async (ctx, next) => {
    const handle = table[`${ctx.method} ${ctx.path}`];
    if (!handle) return next();
    // Neither another machine nor a page of another site gets through here.
    if (ctx.path.startsWith('/dev/')
      && !(LOOPBACK.test(ctx.req.socket.remoteAddress) && LOOPBACK_NAME.test(ctx.host) && !ctx.get('origin'))) {
      ctx.status = 403;
      ctx.body = { error: 'forbidden', error_description: 'only from this machine' };
      return;
    }
    try {
      ctx.set('cache-control', 'no-store');
      await handle(ctx);
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
      ctx.status = 400;
      ctx.body = { error: 'invalid_request', error_description: error.message };
    }
  };
}
