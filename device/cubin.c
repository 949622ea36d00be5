#include "device/cubin.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define EM_CUDA_MACHINE 190

/* An image holds one .nv.info section for all kernels and, per kernel, .nv.info.NAME and
 * .nv.shared.NAME. Info sections are lists of attributes: format, attribute, 16-bit size, then for
 * SIZED ones as many bytes, for the rest none. */
enum { FORMAT_SIZED = 4 };
enum {
	ATTRIBUTE_MAX_THREADS = 0x05, /* x, y, z */
	ATTRIBUTE_FRAME_SIZE = 0x11,  /* symbol, bytes */
	ATTRIBUTE_REGISTERS = 0x2f,   /* symbol, registers */
};

/* From sm_90 on a block's shared memory begins with this much for the driver, and .nv.shared counts
 * it. */
#define RESERVED_SMEM    1024
#define RESERVED_SMEM_SM 90

struct image {
	const uint8_t *data;
	size_t bytes;
	Elf64_Ehdr header;
};

struct span {
	const uint8_t *data; /* NULL: none, or outside the image */
	size_t bytes;
};

static uint32_t read_u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static struct span span_of(const struct image *image, uint64_t offset, uint64_t bytes)
{
	if (offset > image->bytes || bytes > image->bytes - offset)
		return (struct span){0};
	return (struct span){image->data + offset, (size_t)bytes};
}

static bool section_header(const struct image *image, unsigned index, Elf64_Shdr *section)
{
	const struct span span =
	        index < image->header.e_shnum
	                ? span_of(image, image->header.e_shoff,
	                          (uint64_t)image->header.e_shnum * sizeof *section)
	                : (struct span){0};
	if (!span.data)
		return false;
	memcpy(section, span.data + index * sizeof *section, sizeof *section);
	return true;
}

static struct span contents(const struct image *image, const Elf64_Shdr *section)
{
	return section->sh_type == SHT_NOBITS
	               ? (struct span){0}
	               : span_of(image, section->sh_offset, section->sh_size);
}

/* The string at `offset` of a string table; "" when it does not end inside. */
static const char *string_at(struct span table, uint32_t offset)
{
	if (!table.data || offset >= table.bytes ||
	    !memchr(table.data + offset, '\0', table.bytes - offset))
		return "";
	return (const char *)table.data + offset;
}

static struct span section_names(const struct image *image)
{
	Elf64_Shdr section;
	return section_header(image, image->header.e_shstrndx, &section) ? contents(image, &section)
	                                                                 : (struct span){0};
}

/* The section named `prefix` followed by `name`. */
static bool find_section(const struct image *image, const char *prefix, const char *name,
                         Elf64_Shdr *section)
{
	const struct span names = section_names(image);
	const size_t n = strlen(prefix);
	for (unsigned i = 0; section_header(image, i, section); i++) {
		const char *candidate = string_at(names, section->sh_name);
		if (!strncmp(candidate, prefix, n) && !strcmp(candidate + n, name))
			return true;
	}
	return false;
}

/* Name of symbol number `index`; "" when there is no such symbol. */
static const char *symbol_name(const struct image *image, uint32_t index)
{
	Elf64_Shdr table, strings;
	Elf64_Sym symbol;
	if (!find_section(image, ".symtab", "", &table) ||
	    !section_header(image, table.sh_link, &strings))
		return "";
	const struct span symbols = contents(image, &table);
	if (!symbols.data || index >= symbols.bytes / sizeof symbol)
		return "";
	memcpy(&symbol, symbols.data + index * sizeof symbol, sizeof symbol);
	return string_at(contents(image, &strings), symbol.st_name);
}

struct attribute {
	int name;
	struct span value;
};

/* Takes the first attribute off an info section; false at its end and where it is damaged. */
static bool next_attribute(struct span *info, struct attribute *attribute)
{
	uint16_t size;
	if (!info->data || info->bytes < 4)
		return false;
	memcpy(&size, info->data + 2, sizeof size);
	if (info->data[0] != FORMAT_SIZED)
		size = 0;
	if (size > info->bytes - 4)
		return false;
	attribute->name = info->data[1];
	attribute->value = (struct span){info->data + 4, size};
	info->data += 4 + size;
	info->bytes -= 4 + (size_t)size;
	return true;
}

/* Attributes that name their kernel. */
static void read_common_info(const struct image *image, const char *symbol,
                             struct cubin_resources *resources)
{
	Elf64_Shdr section;
	struct attribute a;
	if (!find_section(image, ".nv.info", "", &section))
		return;
	for (struct span info = contents(image, &section); next_attribute(&info, &a);) {
		int *field = a.name == ATTRIBUTE_REGISTERS    ? &resources->registers
		             : a.name == ATTRIBUTE_FRAME_SIZE ? &resources->stack_bytes
		                                              : NULL;
		if (field && a.value.bytes >= 8 &&
		    !strcmp(symbol_name(image, read_u32(a.value.data)), symbol))
			*field = (int)read_u32(a.value.data + 4);
	}
}

static void read_kernel_info(struct span info, struct cubin_resources *resources)
{
	struct attribute a;
	while (next_attribute(&info, &a))
		if (a.name == ATTRIBUTE_MAX_THREADS && a.value.bytes >= 12)
			resources->max_threads =
			        (int)(read_u32(a.value.data) * read_u32(a.value.data + 4) *
			              read_u32(a.value.data + 8));
}

/* Since ELF ABI 8 the architecture lies one byte higher. */
static int image_sm(const struct image *image)
{
	const unsigned flags = image->header.e_flags;
	return (image->header.e_ident[EI_ABIVERSION] >= 8 ? flags >> 8 : flags) & 0xff;
}

enum status cubin_read(const void *data, size_t bytes, const char *symbol,
                       struct cubin_resources *resources)
{
	struct image image = {.data = data, .bytes = bytes};
	Elf64_Shdr section;
	*resources = (struct cubin_resources){0};
	if (bytes < sizeof image.header)
		return fail(STATUS_FAILED, "compiled code of %zu bytes is no cubin", bytes);
	memcpy(&image.header, data, sizeof image.header);
	if (memcmp(image.header.e_ident, ELFMAG, SELFMAG) ||
	    image.header.e_ident[EI_CLASS] != ELFCLASS64 ||
	    image.header.e_machine != EM_CUDA_MACHINE || image.header.e_shentsize != sizeof section)
		return fail(STATUS_FAILED, "compiled code is no cubin");
	if (!find_section(&image, ".nv.info.", symbol, &section))
		return fail(STATUS_FAILED, "compiled code lacks kernel %s", symbol);
	read_kernel_info(contents(&image, &section), resources);
	read_common_info(&image, symbol, resources);
	if (!resources->registers)
		return fail(STATUS_FAILED, "compiled code does not say how many registers %s takes",
		            symbol);
	if (find_section(&image, ".nv.shared.", symbol, &section) && section.sh_size <= 1 << 20)
		resources->static_smem_bytes = (int)section.sh_size;
	if (image_sm(&image) >= RESERVED_SMEM_SM && resources->static_smem_bytes >= RESERVED_SMEM)
		resources->static_smem_bytes -= RESERVED_SMEM;
	return STATUS_OK;
}
