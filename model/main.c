#include "model/run.h"

int main(int argc, char **argv)
{
	return status_exit("warpsmith-run", run(argc, argv, stdout));
}
