// The development identity provider. See README.md for its settings.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Directory } from './directory.mjs';
import { endpoints } from './endpoints.mjs';
import { loadKeys } from './keys.mjs';
import { loginPages } from './login.mjs';
import { makeProvider } from './provider.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const { env } = process;
const port = Number(env.PORT ?? 8095);
const dataDir = env.KOMBI_IDP_DATA_DIR ?? join(here, '../../.local/idp');
const settings = {
  issuer: env.ZITADEL_ISSUER ?? `http://127.0.0.1:${port}`,
  audience: env.KOMBI_AUDIENCE ?? 'kombify',
  clientId: env.ZITADEL_CLIENT_ID ?? 'kombify-dev',
  tokenTtl: Number(env.KOMBI_IDP_TOKEN_TTL ?? 3600),
  gatewayUrl: env.KOMBI_IDP_GATEWAY_URL,
  gatewayClientId: env.KOMBI_IDP_GATEWAY_CLIENT_ID ?? 'kombify-gateway',
  gatewaySecret: env.KOMBI_IDP_GATEWAY_SECRET_FILE && readFileSync(env.KOMBI_IDP_GATEWAY_SECRET_FILE, 'utf8').trim(),
  serviceSecret: env.KOMBI_IDP_SERVICE_SECRET_FILE && readFileSync(env.KOMBI_IDP_SERVICE_SECRET_FILE, 'utf8').trim(),
};

const keys = await loadKeys(dataDir);
const directory = new Directory(env.KOMBI_IDP_USERS ?? join(here, 'users.json'), dataDir,
  { profileInToken: env.KOMBI_IDP_PROFILE_IN_TOKEN !== 'false' });
const provider = makeProvider(settings, keys, directory);
provider.use(endpoints(settings, keys, directory));
provider.use(loginPages(provider, directory));
provider.on('server_error', (ctx, error) => console.error(error));
provider.on('grant.error', (ctx, error) => console.error('token request refused:', error.error_detail ?? error.message));
provider.on('authorization.error', (ctx, error) => console.error('authorization refused:', error.error_description ?? error.message));

const server = provider.listen(port, env.KOMBI_LISTEN ?? '127.0.0.1', () => console.log(`issuer ${settings.issuer}`));
server.on('error', (error) => { console.error(`cannot listen on port ${port}: ${error.code}`); process.exit(1); });
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => { server.close(() => process.exit(0)); server.closeAllConnections(); });
}
