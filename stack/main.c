/* The stack service: see routes.c for what it answers. */
#include "stack.h"

#include "stack_service.h"

int
main(int argc, char *argv[])
{
	return kb_service_main(&stack_service, argc, argv);
}
