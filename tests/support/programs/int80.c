/* 32-bit system calls of a 64-bit program (int $0x80): openat, chmod and ptrace of what it is given, at addresses that
 * have 32 bits. Says the three results.
 *
 * Usage: int80 FILE MODE PID */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define OPENAT 295
#define CHMOD 15
#define PTRACE 26
#define AT_FDCWD -100
#define PTRACE_SEIZE 0x4206
#define PTRACE_DETACH 17

static int call(int number, long first, long second, long third, long fourth)
{
	int result;

	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(number), "b"(first), "c"(second), "d"(third), "S"(fourth)
		     : "memory", "r8", "r9", "r10", "r11");
	return result;
}

int main(int count, char **arguments)
{
	char *path = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int opened, changed, seized;

	if (count != 4 || path == MAP_FAILED)
		return 2;
	strncpy(path, arguments[1], 4095);
	opened = call(OPENAT, AT_FDCWD, (long)path, 0, 0);
	changed = call(CHMOD, (long)path, strtol(arguments[2], 0, 8), 0, 0);
	seized = call(PTRACE, PTRACE_SEIZE, atoi(arguments[3]), 0, 0);
	printf("%d %d %d\n", opened >= 0 ? 0 : opened, changed, seized);
	return 0;
}
