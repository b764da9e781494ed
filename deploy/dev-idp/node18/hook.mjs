// Module hook: oidc-provider's node:crypto is ours, which has hash().
export async function resolve(specifier, context, next) {
  if (specifier === 'node:crypto' && context.parentURL?.includes('/node_modules/oidc-provider/')) {
    return { url: new URL('./crypto.mjs', import.meta.url).href, shortCircuit: true };
  }
  return next(specifier, context);
}
