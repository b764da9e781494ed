# kombi_embed_sql(TARGET NAME DIR): DIR/0001_what.sql … become the table
# `const struct kb_migration NAME[]` in a generated source file.
function(kombi_embed_sql target name dir)
  file(GLOB files CONFIGURE_DEPENDS ${dir}/*.sql)
  set(out ${CMAKE_BINARY_DIR}/generated/${target}_${name}.c)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DNAME=${name} -DOUT=${out} -DDIR=${dir} -P ${CMAKE_SOURCE_DIR}/cmake/EmbedSql.cmake
    DEPENDS ${files} ${CMAKE_SOURCE_DIR}/cmake/EmbedSql.cmake VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()

# kombi_service(NAME): all .c files of NAME/ (and of its folders) make the
# executable NAME; without main.c they also make NAME_objects, which the
# service's unit tests link. NAME/migrations*/ become tables: migrations ->
# NAME_migrations, migrations_tenant -> NAME_migrations_tenant.
function(kombi_service name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${name}/*.c)
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  list(FILTER sources EXCLUDE REGEX "/cli/")
  if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${name}/main.c)
    return()
  endif()
  add_library(${name}_objects STATIC ${sources})
  file(GLOB migration_dirs CONFIGURE_DEPENDS ${name}/migrations*)
  foreach(dir ${migration_dirs})
    get_filename_component(base ${dir} NAME)
    kombi_embed_sql(${name}_objects ${name}_${base} ${dir})
  endforeach()
  target_include_directories(${name}_objects PUBLIC ${CMAKE_SOURCE_DIR}/${name})
  target_link_libraries(${name}_objects PUBLIC kombi)
  add_executable(${name} ${name}/main.c)
  target_link_libraries(${name} PRIVATE ${name}_objects)
  if(EXISTS ${CMAKE_SOURCE_DIR}/${name}/cli/main.c)
    file(GLOB cli CONFIGURE_DEPENDS ${name}/cli/*.c)
    add_executable(${name}-cli ${cli})
    target_link_libraries(${name}-cli PRIVATE ${name}_objects)
  endif()
endfunction()
