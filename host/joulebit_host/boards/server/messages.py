"""The messages of pynq's remote protocol (pynq 4.0), made at run time: no generated code, no compiler for it.

Field names, numbers and types are those of the descriptors inside pynq's package (`pynq.remote.*_pb2`); a test
compares them. The classes live in a pool of their own, so that pynq may be imported into the same process.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

__all__ = ["SERVICES", "Method", "Service", "message"]


@dataclass(frozen=True)
class Method:
    """A remote procedure: names of its messages, and which of them are streams."""

    request: str
    response: str
    stream_in: bool = False
    stream_out: bool = False


@dataclass(frozen=True)
class Service:
    """One .proto file: messages as `name:type=number` words (`?` where presence counts), and procedures."""

    package: str
    name: str
    messages: dict[str, str]
    methods: dict[str, Method]


SERVICES = (
    Service(
        "remote_device",
        "RemoteDevice",
        {
            "ReadFileRequest": "file_path:string=1",
            "ReadFileResponse": "data:bytes=1",
            "WriteFileRequest": "file_path:string=1 data:bytes=2",
            "WriteFileResponse": "",
            "ExistsFileRequest": "file_path:string=1",
            "ExistsFileResponse": "exists:bool=1",
            "SetBitstreamAttrsRequest": "binfile_name:string=1 partial:bool=2",
            "SetBitstreamAttrsResponse": "status:bool=1",
            "ShutdownRequest": "",
            "ShutdownResponse": "status:bool=1",
            "SetPlClkRequest": "i:int32=1 div0:int32=2 div1:int32=3 clk_mhz:int32=4",
            "SetPlClkResponse": "status:bool=1",
            "DownloadRequest": "buffer:bytes=1",
            "DownloadResponse": "status:bool=1",
        },
        {
            "set_bitstream_attrs": Method("SetBitstreamAttrsRequest", "SetBitstreamAttrsResponse"),
            "download": Method("DownloadRequest", "DownloadResponse", stream_in=True),
            "set_pl_clk": Method("SetPlClkRequest", "SetPlClkResponse"),
            "shutdown": Method("ShutdownRequest", "ShutdownResponse"),
            "readfile": Method("ReadFileRequest", "ReadFileResponse", stream_out=True),
            "writefile": Method("WriteFileRequest", "WriteFileResponse", stream_in=True),
            "existsfile": Method("ExistsFileRequest", "ExistsFileResponse"),
        },
    ),
    Service(
        "mmio",
        "Mmio",
        {
            "GetMmioRequest": "base_addr:uint64=1 length:uint64=2",
            "GetMmioResponse": "status:bool=1 msg?:string=2 mmio_id?:string=3",
            "ReadRequest": "mmio_id:string=1 length:uint64=2 offset:uint64=3 word_order:string=4",
            "ReadResponse": "status:bool=1 msg?:string=2 data?:uint32=3",
            "WriteRequest": "mmio_id:string=1 offset:uint64=2 data:bytes=3",
            "WriteResponse": "status:bool=1 msg?:string=2",
        },
        {
            "get_mmio": Method("GetMmioRequest", "GetMmioResponse"),
            "read": Method("ReadRequest", "ReadResponse"),
            "write": Method("WriteRequest", "WriteResponse"),
        },
    ),
    Service(
        "buffer",
        "RemoteBuffer",
        {
            "CacheableRequest": "buffer_id:string=1",
            "CacheableResponse": "msg?:string=2 cacheable?:bool=3",
            "AddressRequest": "buffer_id:string=1",
            "AddressResponse": "msg?:string=2 address?:uint64=3",
            "InvalidateRequest": "buffer_id:string=1",
            "InvalidateResponse": "msg?:string=2",
            "FlushRequest": "buffer_id:string=1",
            "FlushResponse": "msg?:string=2",
            "AllocateRequest": "size:int32=1 dtype:string=2 cacheable:bool=3",
            "AllocateResponse": "msg?:string=2 buffer_id?:string=3",
            "BufferWriteRequest": "buffer_id:string=1 data:bytes=2 start:int32=3 end:int32=4",
            "BufferWriteResponse": "msg?:string=2",
            "BufferReadRequest": "buffer_id:string=1 start:int32=2 end:int32=3",
            "BufferReadResponse": "msg?:string=2 data?:bytes=3",
            "FreeBufferRequest": "buffer_id:string=1",
            "FreeBufferResponse": "msg?:string=2",
        },
        {
            "allocate": Method("AllocateRequest", "AllocateResponse"),
            "write": Method("BufferWriteRequest", "BufferWriteResponse", stream_in=True),
            "read": Method("BufferReadRequest", "BufferReadResponse", stream_out=True),
            "freebuffer": Method("FreeBufferRequest", "FreeBufferResponse"),
            "flush": Method("FlushRequest", "FlushResponse"),
            "invalidate": Method("InvalidateRequest", "InvalidateResponse"),
            "physical_address": Method("AddressRequest", "AddressResponse"),
            "virtual_address": Method("AddressRequest", "AddressResponse"),
            "cacheable": Method("CacheableRequest", "CacheableResponse"),
        },
    ),
    Service(
        "gpio",
        "Gpio",
        {
            "GetGpioRequest": "index:int32=1 direction:string=2",
            "GetGpioResponse": "message?:string=2 gpio_id?:string=3",
            "GpioReadRequest": "gpio_id:string=1",
            "GpioReadResponse": "message?:string=2 value?:int32=3",
            "GpioWriteRequest": "gpio_id:string=1 value:int32=2",
            "GpioWriteResponse": "",
            "GpioUnexportRequest": "gpio_id:string=1",
            "GpioUnexportResponse": "",
            "GpioIsExportedRequest": "gpio_id:string=1",
            "GpioIsExportedResponse": "is_exported?:bool=3",
            "GetGpioBasePathRequest": "target_label?:string=1",
            "GetGpioBasePathResponse": "base_path?:string=3",
            "GetGpioNPinsRequest": "target_label?:string=1",
            "GetGpioNPinsResponse": "npins?:int32=1",
        },
        {
            "get_gpio": Method("GetGpioRequest", "GetGpioResponse"),
            "read": Method("GpioReadRequest", "GpioReadResponse"),
            "write": Method("GpioWriteRequest", "GpioWriteResponse"),
            "unexport": Method("GpioUnexportRequest", "GpioUnexportResponse"),
            "is_exported": Method("GpioIsExportedRequest", "GpioIsExportedResponse"),
            "get_gpio_base_path": Method("GetGpioBasePathRequest", "GetGpioBasePathResponse"),
            "get_gpio_npins": Method("GetGpioNPinsRequest", "GetGpioNPinsResponse"),
        },
    ),
)


@functools.cache
def _classes() -> dict[str, Any]:
    """Message classes by "package.Name"."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for service in SERVICES:
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{service.package}.proto", package=service.package, syntax="proto3"
        )
        for name, fields in service.messages.items():
            entry = file.message_type.add(name=name)
            for word in fields.split():
                field, _, rest = word.partition(":")
                kind, _, number = rest.partition("=")
                added = entry.field.add(
                    name=field.rstrip("?"),
                    number=int(number),
                    type=getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}"),
                    label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
                )
                if field.endswith("?"):
                    added.proto3_optional = True
                    added.oneof_index = len(entry.oneof_decl)
                    entry.oneof_decl.add(name=f"_{added.name}")
        pool.Add(file)
    return {
        f"{service.package}.{name}": message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{service.package}.{name}")
        )
        for service in SERVICES
        for name in service.messages
    }


def message(package: str, name: str) -> Any:
    """The class of a message, such as message("mmio", "ReadResponse")."""
    return _classes()[f"{package}.{name}"]
