/* The sim service: see routes.c for what it answers. */
#include "sim.h"

int
main(int argc, char *argv[])
{
	return kb_service_main(&sim_service, argc, argv);
}
