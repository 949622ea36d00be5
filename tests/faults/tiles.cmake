# Attention by tensor cores and bulk copies: two splits that take runs of 16 keys in turn.
include(${CMAKE_CURRENT_LIST_DIR}/fault.cmake)

set(fault_model ${PROJECT_SOURCE_DIR}/tests/data/golden/bf16-g1-d128-tied.gguf)
set(fault_prompt 5)
foreach(id RANGE 6 54)
	string(APPEND fault_prompt ",${id}")
endforeach()
set(cases_gqa_attention "X(128, 1, DTYPE_BF16)")
set(config_gqa_attention "2, 1, 0, 1, 16, 1, 1, 1, COPY_BULK, 1, 2, 1, 0")

fault(tile_last_key_skipped kernels/gqa_attention.cu
	"T::value_row(i) < left;" "T::value_row(i) < (left > 1 && left <= T::keys ? left - 1 : left);"
	FINDS "position 1, layer 0, head 0: split 0 has 1 keys from key 0 on, expected 2 from key 0 on" --trace 50)
fault(tile_run_skipped kernels/gqa_attention.cu
	"		if (left <= 0)"
	"		if (left > 0 && blockIdx.y == 1 && step == 1) { simt::bulk_wait(ring.barriers + 1, 0); continue; }\n		if (left <= 0)"
	FINDS "position 48, layer 0, head 0: split 1 has 16 keys from key 16 on, expected 17 from key 16 on" --trace 50)
fault(tile_run_taken_twice kernels/gqa_attention.cu
	"copy_in_bulk<K, C, Early>(a, first, end," "copy_in_bulk<K, C, Early>(a, first % 32, end,"
	FINDS "position 33, layer 0, operation attention" --check)
