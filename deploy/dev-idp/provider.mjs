// oidc-provider set up with Zitadel's paths, claims and token format:
// authorization code + PKCE, RS256, JWT access tokens.
import Provider, { interactionPolicy } from 'oidc-provider';

const SCOPE = 'openid profile email offline_access';

const ROUTES = {
  authorization: '/oauth/v2/authorize', token: '/oauth/v2/token', jwks: '/oauth/v2/keys',
  revocation: '/oauth/v2/revoke', userinfo: '/oidc/v1/userinfo', end_session: '/oidc/v1/end_session',
};

const ZITADEL_CLAIMS = [
  'urn:zitadel:iam:user:resourceowner:id', 'urn:zitadel:iam:user:resourceowner:name',
  'urn:zitadel:iam:org:id', 'urn:zitadel:iam:org:project:roles', 'plan',
];

// The gateway, where browsers sign in: a confidential client that is told when
// a session ends (Back-Channel Logout 1.0).
const gatewayClient = ({ gatewayUrl, gatewayClientId, gatewaySecret }) => (gatewayUrl && gatewaySecret ? [{
  client_id: gatewayClientId, client_secret: gatewaySecret, application_type: 'web',
  token_endpoint_auth_method: 'client_secret_post',
  grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
  redirect_uris: [`${gatewayUrl}/auth/callback`], post_logout_redirect_uris: [`${gatewayUrl}/`],
  backchannel_logout_uri: `${gatewayUrl}/auth/backchannel-logout`, backchannel_logout_session_required: true,
}] : []);

// A native client may use any port of the loopback address (RFC 8252 7.3).
const clients = (settings) => [...gatewayClient(settings), {
  client_id: settings.clientId, application_type: 'native', token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback', 'http://127.0.0.1/auth/callback',
    'http://localhost/auth/callback', 'http://localhost/portal/auth/callback'],
  post_logout_redirect_uris: ['http://127.0.0.1/', 'http://localhost/'],
}];

// Somebody else is signed in than the hint names: ask again.
function loginPolicy(directory) {
  const policy = interactionPolicy.base();
  const another = (ctx) => {
    const user = directory.find(ctx.oidc.params.login_hint);
    return user !== undefined && user.id !== ctx.oidc.session.accountId
      ? interactionPolicy.Check.REQUEST_PROMPT : interactionPolicy.Check.NO_NEED_TO_PROMPT;
  };
  policy.get('login').checks.add(
    new interactionPolicy.Check('login_hint_names_another', 'another user is signed in', another));
  return policy;
}

// Consent is given beforehand: these are the platform's own clients.
async function grantEverything(ctx, resource) {
  const { Grant } = ctx.oidc.provider;
  const grant = new Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
  grant.addOIDCScope(SCOPE);
  grant.addResourceScope(resource, SCOPE);
  await grant.save();
  return grant;
}

function features({ audience, tokenTtl }, resource) {
  const server = { scope: SCOPE, audience, accessTokenFormat: 'jwt', accessTokenTTL: tokenTtl, jwt: { sign: { alg: 'RS256' } } };
  return {
    devInteractions: { enabled: false },
    revocation: { enabled: true },
    backchannelLogout: { enabled: true },
    resourceIndicators: { enabled: true, defaultResource: () => resource, useGrantedResource: () => true,
      getResourceServerInfo: () => server },
  };
}

export function makeProvider(settings, keys, directory) {
  const resource = `urn:${settings.audience}`;
  return new Provider(settings.issuer, {
    jwks: { keys: [keys.signing] },
    cookies: { keys: keys.cookies },
    clients: clients(settings),
    routes: ROUTES,
    scopes: SCOPE.split(' '),
    claims: { openid: ['sub', ...ZITADEL_CLAIMS], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    clientBasedCORS: () => true,
    pkce: { required: () => true },
    ttl: { AccessToken: settings.tokenTtl, IdToken: settings.tokenTtl, Session: 86400, Grant: 86400, Interaction: 600, RefreshToken: 86400 },
    features: features(settings, resource),
    interactions: { url: (ctx, { uid }) => `/interaction/${uid}`, policy: loginPolicy(directory) },
    // Zitadel gives one for the scope alone; here the prompt for consent would be needed as well.
    issueRefreshToken: async (ctx, client, code) => client.grantTypeAllowed('refresh_token')
      && (code.scopes.has('offline_access') || client.clientId === settings.gatewayClientId),
    loadExistingGrant: (ctx) => grantEverything(ctx, resource),
    extraTokenClaims: (ctx, token) => directory.tokenClaims(directory.find(token.accountId)),
    // Zitadel's tokens carry nbf; oidc-provider's do not.
    formats: { customizers: { jwt: (ctx, token, { payload }) => { payload.nbf = payload.iat; } } },
    findAccount: (ctx, id) => {
      const user = directory.find(id);
      return user && { accountId: user.id, claims: () => ({ sub: user.id, ...directory.profile(user), ...directory.identity(user) }) };
    },
  });
}
