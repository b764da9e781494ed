# Warnings and hardening, for every target of the tree. What a compiler does
# not know is left out by probing, so that gcc 12 and clang 14 both build.
include(CheckCCompilerFlag)

add_compile_definitions(_GNU_SOURCE)
add_compile_options(
  -Wall -Wextra -Werror -Wformat=2 -Wshadow -Wconversion -Wsign-conversion
  -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wpointer-arith
  -Wvla -Wundef -Wcast-qual -Wimplicit-fallthrough
  -fno-strict-aliasing -fno-strict-overflow -fno-delete-null-pointer-checks
  -fstack-protector-strong -fvisibility=hidden -fPIE -g)
add_link_options(-pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed)

foreach(flag -fstack-clash-protection -fcf-protection=full -Wtrampolines -Wbidi-chars=any)
  string(MAKE_C_IDENTIFIER "HAVE${flag}" var)
  check_c_compiler_flag("-Werror ${flag}" ${var})
  if(${var})
    add_compile_options(${flag})
  endif()
endforeach()

if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT KOMBI_SANITIZE)
  add_compile_options(-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
# Release keeps assert(): what the code promises itself is checked in production too.
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")
string(REPLACE "-O3" "-O2" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")

if(KOMBI_SANITIZE)
  add_compile_options(-fsanitize=${KOMBI_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -O1)
  add_link_options(-fsanitize=${KOMBI_SANITIZE})
endif()
if(KOMBI_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
  add_link_options(-fsanitize=fuzzer-no-link)
endif()
