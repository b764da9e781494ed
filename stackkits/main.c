/* stackkits: kits for everybody's homelab. */
#include "stackkits.h"

int
main(int argc, char *argv[])
{
	return kb_service_main(&sk_service, argc, argv);
}
