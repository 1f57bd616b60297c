/* The shortest program that there is: it ends. Without a C library, whose beginning costs more than an exec. */
void _start(void)
{
#ifdef __aarch64__
	register long number asm("x8") = 93, status asm("x0") = 0;

	asm volatile("svc 0" ::"r"(number), "r"(status));
#else
	asm volatile("syscall" ::"a"(60L), "D"(0L));
#endif
	__builtin_unreachable();
}
