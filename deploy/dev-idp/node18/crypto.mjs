// node:crypto plus the one-shot hash() of Node 20.12.
import { createHash } from 'node:crypto';

export * from 'node:crypto';
export const hash = (algorithm, data, encoding = 'hex') =>
  createHash(algorithm).update(data).digest(encoding === 'buffer' ? undefined : encoding);
