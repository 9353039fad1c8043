// One AXI3 write port with one client. A burst is asked for only when all its data are here, so that it never holds up the
// bus; its data follow its address by a cycle, whether that has been accepted or not (AXI: valid never waits for ready), in the order
// of the addresses (no interleaving); responses are counted.
`default_nettype none

module jb_axi_write_port #(
  parameter int Outstanding = 8,  // bursts without a response at once, a power of two
  parameter int Depth       = 64  // beats that wait here, a power of two, at least 32
) (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  input  wire logic        halt_i,   // ask for nothing more
  output      logic        idle_o,   // nothing is under way: all responses are there
  output      logic        error_o,  // a response was an error
  output      logic        beat_o,   // a beat left
  output      logic        starved_o,// a burst waits for data
  // bursts
  input  wire logic        burst_valid_i,
  output      logic        burst_ready_o,
  input  wire logic [31:0] burst_address_i,
  input  wire logic [ 4:0] burst_beats_i,  // 1..16
  input  wire logic        burst_upper_i,  // the low half of its one word goes to the upper half of the beat
  input  wire logic        burst_lower_i,  // of its last beat the lower half is written
  // data in the order of the bursts
  input  wire logic        data_valid_i,
  output      logic        data_ready_o,
  input  wire logic [63:0] data_i,
  // AXI3
  output      logic        awvalid_o,
  input  wire logic        awready_i,
  output      logic [31:0] awaddr_o,
  output      logic [ 3:0] awlen_o,
  output      logic        wvalid_o,
  input  wire logic        wready_i,
  output      logic [63:0] wdata_o,
  output      logic [ 7:0] wstrb_o,
  output      logic        wlast_o,
  input  wire logic        bvalid_i,
  output      logic        bready_o,
  input  wire logic [ 1:0] bresp_i
);
  localparam int CountBits = $clog2(Depth) + 1;

  logic [CountBits-1:0] free_q;  // beats here that no burst has been asked for
  logic [7:0] outstanding_q;
  logic [3:0] length;    // of the burst, less one
  logic accept, push, retire;

  // Addresses.
  assign length = 4'(burst_beats_i - 5'd1);
  assign accept = burst_valid_i && (!awvalid_o || awready_i) && !halt_i
                  && free_q >= CountBits'(burst_beats_i) && outstanding_q < 8'(Outstanding);
  assign burst_ready_o = accept;
  assign push   = data_valid_i && data_ready_o;
  assign retire = bvalid_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      awvalid_o     <= 1'b0;
      free_q        <= '0;
      outstanding_q <= '0;
    end else begin
      if (accept) awvalid_o <= 1'b1;
      else if (awready_i) awvalid_o <= 1'b0;
      free_q <= free_q + (push ? CountBits'(1) : '0) - (accept ? CountBits'(burst_beats_i) : '0);
      if (accept && !retire) outstanding_q <= outstanding_q + 8'd1;
      if (!accept && retire) outstanding_q <= outstanding_q - 8'd1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (accept) begin
      awaddr_o <= burst_address_i;
      awlen_o  <= length;
    end
  end

  // Bursts whose address is offered or accepted wait for their data's turn. There are never more than Outstanding of them.
  logic command_valid, command_ready, command_in_ready_unused;
  logic command_upper, command_lower;
  logic [3:0] command_length;
  logic [$clog2(Outstanding):0] command_count_unused;

  jb_fifo #(
    .Width(6),
    .Depth(Outstanding)
  ) u_commands (
    .clk_i,
    .rst_ni,
    .valid_i(accept),
    .ready_o(command_in_ready_unused),
    .data_i ({burst_upper_i, burst_lower_i, length}),
    .valid_o(command_valid),
    .ready_i(command_ready),
    .data_o ({command_upper, command_lower, command_length}),
    .count_o(command_count_unused)
  );

  // Data.
  logic fifo_valid_unused;
  logic [63:0] fifo_data;
  logic [CountBits-1:0] fifo_count_unused;
  logic skid_ready, last;
  logic [3:0] position_q;

  jb_fifo #(
    .Width(64),
    .Depth(Depth)
  ) u_data (
    .clk_i,
    .rst_ni,
    .valid_i(data_valid_i),
    .ready_o(data_ready_o),
    .data_i (data_i),
    .valid_o(fifo_valid_unused),
    .ready_i(command_valid && skid_ready),
    .data_o (fifo_data),
    .count_o(fifo_count_unused)
  );

  assign last          = position_q == command_length;
  assign command_ready = skid_ready && last;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) position_q <= '0;
    else if (command_valid && skid_ready) position_q <= last ? '0 : position_q + 4'd1;
  end

  logic [63:0] beat_data;
  logic [7:0] beat_strobe;

  always_comb begin
    beat_data   = fifo_data;
    beat_strobe = 8'hFF;
    if (command_upper) begin
      beat_data   = {fifo_data[31:0], fifo_data[31:0]};
      beat_strobe = 8'hF0;
    end else if (command_lower && last) begin
      beat_strobe = 8'h0F;
    end
  end

  jb_skid #(
    .Width(73)
  ) u_beats (
    .clk_i,
    .rst_ni,
    .valid_i(command_valid),
    .ready_o(skid_ready),
    .data_i ({last, beat_strobe, beat_data}),
    .valid_o(wvalid_o),
    .ready_i(wready_i),
    .data_o ({wlast_o, wstrb_o, wdata_o})
  );

  assign bready_o = 1'b1;
  assign beat_o    = wvalid_o && wready_i;
  assign starved_o = burst_valid_i && free_q < CountBits'(burst_beats_i);
  assign error_o  = bvalid_i && bresp_i[1];
  assign idle_o   = outstanding_q == '0 && !awvalid_o;

  logic unused;
  assign unused = ^{bresp_i[0], command_in_ready_unused, command_count_unused, fifo_valid_unused, fifo_count_unused};
endmodule

`default_nettype wire
