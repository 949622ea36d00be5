# The kernel sources as texts inside the program: library `sources` (core/sources.h).
#
# Run as a script it writes OUTPUT, a C table of FILES (relative to ROOT, separated by commas).
if(CMAKE_SCRIPT_MODE_FILE)
	string(REPLACE "," ";" FILES "${FILES}")
	set(texts "")
	set(rows "")
	set(n 0)
	foreach(path ${FILES})
		file(READ ${ROOT}/${path} hex HEX)
		string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
		string(APPEND texts "static const char text_${n}[] = {${bytes}0};\n")
		string(APPEND rows "\t{\"${path}\", text_${n}, sizeof text_${n} - 1},\n")
		math(EXPR n "${n} + 1")
	endforeach()
	file(WRITE ${OUTPUT}
		"#include \"core/sources.h\"\n\n${texts}\nconst struct source sources[] = {\n${rows}\t{0},\n};\n")
	return()
endif()

# What NVRTC needs to compile any kernel; not the headers of kernels/ that are for host code alone.
file(GLOB embedded_kernels CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} kernels/*.cu kernels/*.h)
list(REMOVE_ITEM embedded_kernels kernels/describe.h kernels/images.h kernels/list.h
	kernels/subsets.h)
set(embedded core/dtype.h core/param.h core/target.h core/variants.h device/simt.h device/stamp.h
	device/stamped.h ${embedded_kernels})
list(SORT embedded)
list(JOIN embedded "," embedded_list)
list(TRANSFORM embedded PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE embedded_paths)

set(embedded_table ${PROJECT_BINARY_DIR}/embedded_sources.c)
add_custom_command(OUTPUT ${embedded_table}
	COMMAND ${CMAKE_COMMAND} -D ROOT=${PROJECT_SOURCE_DIR} -D FILES=${embedded_list}
		-D OUTPUT=${embedded_table} -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
	DEPENDS ${embedded_paths} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
	COMMENT "Embedding kernel sources" VERBATIM)
add_library(sources STATIC core/sources.c ${embedded_table})
target_link_libraries(sources PUBLIC settings)
