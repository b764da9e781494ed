/* The service's descriptor, for main and for tests. */
#ifndef STACK_SERVICE_H
#define STACK_SERVICE_H

#include <kombi/service.h>

extern const struct kb_service stack_service;

#endif
