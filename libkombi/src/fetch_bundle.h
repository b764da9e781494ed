/* Private: where the CA bundle is, for those who use libcurl. */
#ifndef KOMBI_FETCH_BUNDLE_H
#define KOMBI_FETCH_BUNDLE_H

/* After kb_fetch_init. NULL: where libcurl looks by itself. */
const char *fetch_bundle(void);

#endif
