// FIFO in distributed memory: the oldest word is at the output without a cycle's delay. For shallow queues; deep ones
// are jb_fifo_bram. Proved in hw/formal.
`default_nettype none

module jb_fifo #(
  parameter int Width = 64,
  parameter int Depth = 16  // a power of two, at least 2
) (
  input  wire logic                   clk_i,
  input  wire logic                   rst_ni,
  input  wire logic                   valid_i,
  output      logic                   ready_o,
  input  wire logic [Width-1:0]       data_i,
  output      logic                   valid_o,
  input  wire logic                   ready_i,
  output      logic [Width-1:0]       data_o,
  output      logic [$clog2(Depth):0] count_o  // words inside
);
  localparam int AddressBits = $clog2(Depth);

  if (Depth < 2 || (1 << AddressBits) != Depth) begin : g_depth
    $error("jb_fifo: Depth must be a power of two, at least 2");
  end

  (* ram_style = "distributed" *) logic [Width-1:0] memory[Depth];
  logic [AddressBits-1:0] write_q, read_q;
  logic [AddressBits:0] count_q;
  logic push, pop;

  assign push    = valid_i && ready_o;
  assign pop     = valid_o && ready_i;
  assign ready_o = !count_q[AddressBits];
  assign valid_o = count_q != '0;
  assign data_o  = memory[read_q];
  assign count_o = count_q;

  always_ff @(posedge clk_i) begin
    if (push) memory[write_q] <= data_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      read_q  <= '0;
      count_q <= '0;
    end else begin
      if (push) write_q <= write_q + 1'b1;
      if (pop) read_q <= read_q + 1'b1;
      if (push && !pop) count_q <= count_q + 1'b1;
      if (!push && pop) count_q <= count_q - 1'b1;
    end
  end

`ifdef JB_PROPERTIES
  `include "jb_fifo_properties.svh"
`endif
endmodule

`default_nettype wire
