# find_package(spargio): the targets spargio::shared, spargio::static, and spargio::spargio, which is
# the shared one, or the static one if BUILD_SHARED_LIBS is off. All of them for C and C++ (spargio.hpp
# asks for C++20). The installed tree can be moved: paths are relative to this file.

get_filename_component(_spargio_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

include(CMakeFindDependencyMacro)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)

if(NOT TARGET spargio::shared)
  add_library(spargio::shared SHARED IMPORTED)
  set_target_properties(spargio::shared PROPERTIES
    IMPORTED_LOCATION "${_spargio_prefix}/lib/libspargio.so"
    IMPORTED_SONAME "libspargio.so.0"
    INTERFACE_INCLUDE_DIRECTORIES "${_spargio_prefix}/include"
    INTERFACE_LINK_LIBRARIES Threads::Threads)

  add_library(spargio::static STATIC IMPORTED)
  set_target_properties(spargio::static PROPERTIES
    IMPORTED_LOCATION "${_spargio_prefix}/lib/libspargio.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_spargio_prefix}/include"
    INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS}")

  add_library(spargio::spargio INTERFACE IMPORTED)
  if(DEFINED BUILD_SHARED_LIBS AND NOT BUILD_SHARED_LIBS)
    set_target_properties(spargio::spargio PROPERTIES INTERFACE_LINK_LIBRARIES spargio::static)
  else()
    set_target_properties(spargio::spargio PROPERTIES INTERFACE_LINK_LIBRARIES spargio::shared)
  endif()
endif()

unset(_spargio_prefix)
