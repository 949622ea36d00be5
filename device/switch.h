// C++20.
/* Changing stacks: switch_stack(&saved, to) suspends the caller, to be resumed by a switch to
 * `saved`. */
#ifndef DEVICE_SWITCH_H
#define DEVICE_SWITCH_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && !defined(SIMT_UCONTEXT)

namespace simt
{

#ifdef __AVX512F__
#define SWITCH_CLOBBERS_512                                                                      \
	, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",       \
	        "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", \
	        "k4", "k5", "k6", "k7"
#else
#define SWITCH_CLOBBERS_512
#endif

/* Every register is clobbered, so the compiler saves exactly what is live here. The indirect
 * jump predicts per call site; a return would only if every lane resumed at the same call depth.
 * Frame: [0] resume address, [8] rbp, below the red zone. */
[[gnu::always_inline]] inline void switch_stack(void **save, void *load)
{
	asm volatile("leaq -128(%%rsp), %%rsp\n\t"
	             "pushq %%rbp\n\t"
	             "leaq 1f(%%rip), %%rcx\n\t"
	             "pushq %%rcx\n\t"
	             "movq %%rsp, (%0)\n\t"
	             "movq %1, %%rsp\n\t"
	             "popq %%rcx\n\t"
	             "jmp *%%rcx\n\t"
	             ".p2align 4\n"
	             "1:\tpopq %%rbp\n\t"
	             "leaq 128(%%rsp), %%rsp"
	             : "+D"(save), "+S"(load)
	             :
	             : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
	               "r15", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
	               "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
	               "xmm15" SWITCH_CLOBBERS_512);
}

/* A stack that ends at `top` (aligned to 64) and runs entry() when switched to; entry must not
 * return. */
inline void *new_stack(char *bottom, char *top, void (*entry)())
{
	(void)bottom;
	void **frame = reinterpret_cast<void **>(top) - 2;
	frame[0] = reinterpret_cast<void *>(entry);
	frame[1] = nullptr;
	return frame;
}

} // namespace simt

#else
#include <ucontext.h>

#define SIMT_SLOW_SWITCH

namespace simt
{

/* The saved state lies on the stack that it belongs to. */
inline void switch_stack(void **save, void *load)
{
	ucontext_t here;
	*save = &here;
	swapcontext(&here, static_cast<ucontext_t *>(load));
}

inline void *new_stack(char *bottom, char *top, void (*entry)())
{
	const uintptr_t end = reinterpret_cast<uintptr_t>(top);
	ucontext_t *start =
	        reinterpret_cast<ucontext_t *>((end - sizeof(ucontext_t)) & ~(uintptr_t)63);
	getcontext(start);
	start->uc_stack.ss_sp = bottom;
	start->uc_stack.ss_size = static_cast<size_t>(reinterpret_cast<char *>(start) - bottom);
	start->uc_link = nullptr;
	makecontext(start, entry, 0);
	return start;
}

} // namespace simt

#endif
#endif
