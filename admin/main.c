/* The admin service: see routes.c for what it answers. */
#include "admin.h"

int
main(int argc, char *argv[])
{
	return kb_service_main(&admin_service, argc, argv);
}
