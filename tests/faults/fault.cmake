# Faults planted in copies of the sources, each of which the runner must find and name.
#
# fault(NAME FILE "OLD" "NEW" ["OLD" "NEW" ...] FINDS EXPECTED OPTIONS...): a runner built with a copy of FILE in which each
# OLD, which must occur exactly once, is NEW; decoding `fault_prompt` with `fault_model` and OPTIONS it must exit with code 3
# and a message that contains EXPECTED. Of a kernel K only the cases in cases_K are compiled, with the configuration config_K
# or, where there is none, the default.
include_guard()
include(${PROJECT_SOURCE_DIR}/cmake/plant.cmake)

add_executable(fault faults/fault.c command.c)
target_link_libraries(fault PRIVATE settings)

function(fault name file)
	set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${file})
	file(READ ${PROJECT_SOURCE_DIR}/${file} text)
	set(i 2)
	while(NOT ARGV${i} STREQUAL FINDS)
		math(EXPR next "${i} + 1")
		substitute_once(text ${file} "${text}" "${ARGV${i}}" "${ARGV${next}}")
		math(EXPR i "${i} + 2")
	endwhile()
	math(EXPR i "${i} + 1")
	set(expected "${ARGV${i}}")
	set(options "")
	math(EXPR i "${i} + 1")
	math(EXPR last "${ARGC} - 1")
	foreach(j RANGE ${i} ${last})
		list(APPEND options ${ARGV${j}})
	endforeach()

	get_filename_component(kernel ${file} NAME_WE)
	get_filename_component(type ${file} EXT)
	if(type STREQUAL .cu)
		set(type .cpp)
		string(TOUPPER ${kernel} KERNEL)
		set(defines "#undef ${KERNEL}_CASES\n#define ${KERNEL}_CASES(X) ${cases_${kernel}}\n")
		if(config_${kernel})
			string(APPEND defines "constexpr ${kernel}_config planted = {${config_${kernel}}};\n"
				"#undef VARIANT_DEFAULT\n#define VARIANT_DEFAULT(name, ...) planted.name,\n")
		endif()
		string(REPLACE "\nDEFINE_VARIANTS" "\n${defines}DEFINE_VARIANTS" text "${text}")
	endif()
	set(copy ${CMAKE_CURRENT_BINARY_DIR}/faults/${name}/${kernel}${type})
	file(GENERATE OUTPUT ${copy} CONTENT "${text}")

	# The copy defines what the library's object defines, so that one is not linked.
	add_executable(fault_${name} ${PROJECT_SOURCE_DIR}/model/main.c ${copy})
	target_include_directories(fault_${name} BEFORE PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/faults)
	target_compile_options(fault_${name} PRIVATE
		$<$<COMPILE_LANGUAGE:CXX>:-O2 ${host_arch} -Wno-unknown-pragmas -Wno-unused>)
	target_link_libraries(fault_${name} PRIVATE runner)
	set_target_properties(fault_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/faults)
	add_test(NAME fault_${name} COMMAND fault ${expected} $<TARGET_FILE:fault_${name}>
		-m ${fault_model} --tokens ${fault_prompt} -n 1 --device auto --quiet ${options})
endfunction()
