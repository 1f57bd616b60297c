/* A program that says itself what it was started as, from /proc and from its own stack: the witness of what the kernel
 * told. A line: pid, pid in its own namespace, parent's pid, effective uid, arguments, their bytes, its file in hex.
 *
 * WITNESS=wait: ends with its standard input. WITNESS=N: starts its first argument N times instead, one after the other,
 * with the turn's number as argument; ends with 0 if all of them did.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static long of_status(const char *name)
{
	char line[256];
	long value = 0;
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, name, strlen(name)))
			value = atol(line + strlen(name));
	if (status)
		fclose(status);
	return value;
}

static int start_often(char *program, int count)
{
	char number[16];
	char *arguments[] = {"turn", number, 0};
	int status;

	for (int turn = 0; turn < count; turn++) {
		snprintf(number, sizeof(number), "%d", turn);
		pid_t child = vfork();
		if (!child) {
			execve(program, arguments, 0);
			_exit(1);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = getenv("WITNESS");
	unsigned char file[4096];
	size_t bytes = 0;
	long length;

	if (mode && atoi(mode) && argc > 1)
		return start_often(argv[1], atoi(mode));
	for (int each = 0; each < argc; each++)
		bytes += strlen(argv[each]) + 1;
	printf("%ld %d %ld %d %d %zu ", of_status("Pid:"), getpid(), of_status("PPid:"), geteuid(), argc, bytes);
	length = readlink("/proc/self/exe", (char *)file, sizeof(file));
	for (long each = 0; each < length; each++)
		printf("%02x", file[each]);
	printf(".\n");
	fflush(stdout);
	if (mode && !strcmp(mode, "wait"))
		while (getchar() != EOF)
			;
	return 0;
}
