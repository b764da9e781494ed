/* The HTTP/1.1 server's promises hold over TLS as they do without. */
#define LOOPBACK_TLS
#include "http_server_test.c"
