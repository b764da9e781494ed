// The sign-in page: a list of the users, one click each. A login_hint that
// names a user signs that user in without a page. For development only.
const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const STYLE = `
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: light-dark(#f4f5f7, #15181d); }
  main { width: min(26rem, 90vw); padding: 2rem; border-radius: 1rem; background: light-dark(#fff, #1f242b);
         box-shadow: 0 .5rem 2rem #0002; }
  h1 { margin: 0 0 .25rem; font-size: 1.4rem; } p { margin: 0 0 1.25rem; opacity: .75; }
  button { width: 100%; display: flex; justify-content: space-between; gap: 1rem; padding: .75rem 1rem; margin: .4rem 0;
           font: inherit; text-align: left; cursor: pointer; border-radius: .6rem; border: 1px solid #8884;
           background: transparent; color: inherit; }
  button:hover, button:focus-visible { border-color: #3b82f6; outline: 2px solid #3b82f655; }
  small { opacity: .7; }`;

function page(directory, uid, clientId) {
  const row = (u) => `<button name="user" value="${escape(u.id)}">
    <span>${escape(u.displayName)}<br><small>${escape(u.email)}</small></span>
    <small>${escape(u.org)}<br>${escape(u.plan ?? 'no plan')}</small></button>`;
  return `<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Sign in · kombify development</title>
<style>${STYLE}</style>
<main><h1>Who are you today?</h1><p>Development sign-in for ${escape(clientId)}. No password is asked.</p>
<form method="post" action="/interaction/${escape(uid)}">${[...directory.users.values()].map(row).join('')}</form></main></html>`;
}

async function readForm(req) {
  let text = '';
  for await (const chunk of req) {
    text += chunk;
    if (text.length > 4096) throw new Error('form too long');
  }
  return new URLSearchParams(text);
}

export function loginPages(provider, directory) {
  const finish = async (ctx, user) => ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, user
    ? { login: { accountId: user.id }, consent: {} }
    : { error: 'access_denied', error_description: 'there is no such user' }));

  return async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const { uid, params } = await provider.interactionDetails(ctx.req, ctx.res);
    if (ctx.method === 'POST') return finish(ctx, directory.find((await readForm(ctx.req)).get('user')));
    if (params.login_hint) return finish(ctx, directory.find(params.login_hint));
    ctx.type = 'html';
    ctx.set('cache-control', 'no-store');
    ctx.body = page(directory, uid, params.client_id);
  };
}
