// Debian 12 ships Node 18; oidc-provider and jose expect 20. This adds what
// is missing, and does nothing on a newer Node: node --import ./node18/install.mjs
import * as crypto from 'node:crypto';
import { register } from 'node:module';

globalThis.crypto ??= crypto.webcrypto;
URL.parse ??= (url, base) => {
  try {
    return new URL(url, base);
  } catch {
    return null;
  }
};
if (!crypto.hash) register('./hook.mjs', import.meta.url);
