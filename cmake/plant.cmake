# Faults planted in copies of sources, for tests. What is replaced must occur exactly once, so that a fault that no longer fits
# its file is an error and not a test that passes for nothing.

# Sets `var` to `text`, the contents of `path`, with its only `old` replaced.
function(substitute_once var path text old new)
	string(FIND "${text}" "${old}" first)
	string(FIND "${text}" "${old}" last REVERSE)
	if(first EQUAL -1 OR NOT first EQUAL last)
		message(FATAL_ERROR "${path}: '${old}' does not occur exactly once: the planted fault needs a new place")
	endif()
	string(REPLACE "${old}" "${new}" text "${text}")
	set(${var} "${text}" PARENT_SCOPE)
endfunction()

# plant(path old new output): writes a copy of a source with one replacement.
function(plant path old new output)
	set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${path})
	file(READ ${PROJECT_SOURCE_DIR}/${path} text)
	substitute_once(text ${path} "${text}" "${old}" "${new}")
	file(CONFIGURE OUTPUT ${output} CONTENT "${text}" @ONLY)
endfunction()
